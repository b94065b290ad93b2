// Asks a wallet of this browser (EIP-1193, found by EIP-6963) to sign what FLock asks for, and sends the signature back.

const token = location.hash.slice(1);
const at = (id) => document.getElementById(id);
const wallets = new Map(); // by their names
let request;

function say(text, mood = "") {
  at("state").textContent = text;
  at("state").className = mood;
}

async function ask(path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/sign/${path}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  const told = await answer.json().catch(() => ({ sentence: "The bot does not answer just now. Try again in a minute." }));
  if (!answer.ok) throw new Error(told.sentence || "That did not work. Try again in a minute.");
  return told;
}

const ABOUT = {
  link: "That member's votes in this server will count only when this account has signed them, and only it can undo that. The ledger shows in public how it voted. If you are not that member, close this page: your account would vote for them.",
  unlink: "The buttons in Discord count again, from the next round in which this account has not voted.",
  ballot: "These choices count once this account has signed them. The bot sends them to the ledger and pays for that.",
};

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text; // never markup: prompts and names are other people's words
  return made;
}

function lineOf(choice) {
  const line = document.createElement("li");
  const about = document.createElement("div");
  const numbers = element("small", "numbers", `video ${choice.video}, choice ${choice.choice}`);
  about.append(element("span", "prompt", choice.prompt), numbers);
  if (choice.sha256) about.append(element("small", "hash", `SHA-256 of its file ${choice.sha256}`));
  if (choice.card?.startsWith("https://discord.com/channels/")) {
    const link = element("a", "card", "Watch it in Discord");
    Object.assign(link, { href: choice.card, target: "_blank", rel: "noopener noreferrer" });
    about.append(link);
  }
  line.append(element("span", "choice", choice.emoji), about);
  return line;
}

function show() {
  at("title").textContent = request.title;
  document.title = `FLock · ${request.title}`;
  at("about").textContent = ABOUT[request.kind];
  at("wallet").textContent = request.wallet;
  at("message").value = JSON.stringify(request.message, null, 1);
  for (const who of ["member", "server"]) {
    const { name, id } = request[who];
    at(who).textContent = name ? (who === "member" ? `@${name}` : name) : id;
    at(`${who}-id`).textContent = name ? `(${id})` : "";
  }
  at("voter-id").textContent = request.voter;
  if (request.choices.length) at("round").textContent = request.message.message.round;
  for (const choice of request.choices) at("choices").append(lineOf(choice));
  at("compare").hidden = !request.choices.length;
  at("voter").hidden = !!request.choices.length;
  at("choices").hidden = !request.choices.length;
  for (const id of ["whose", "about", "account", "wallets", "by-hand"]) at(id).hidden = false;
  showWallets();
}

function showWallets() {
  if (!request) return;
  at("wallets").replaceChildren();
  for (const [name, provider] of wallets) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Sign with ${name}`;
    button.addEventListener("click", () => sign(provider, button));
    at("wallets").append(button);
  }
  if (!wallets.size) {
    say("No wallet was found in this browser. Open this page where your wallet is, or sign by hand below.");
    at("by-hand").open = true;
  } else if (!at("state").className) {
    say("");
  }
}

async function toChain(provider) {
  const { chainId } = request.message.domain;
  const hex = `0x${BigInt(chainId).toString(16)}`;
  if (BigInt(await provider.request({ method: "eth_chainId" })) === BigInt(chainId)) return;
  try {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: hex }] });
  } catch (error) {
    if (error.code !== 4902 || !request.rpc) throw error;
    const currency = { name: "Ether", symbol: "ETH", decimals: 18 };
    const chain = { chainId: hex, chainName: `Chain ${chainId}`, rpcUrls: [request.rpc], nativeCurrency: currency };
    await provider.request({ method: "wallet_addEthereumChain", params: [chain] });
  }
}

async function sign(provider, button) {
  button.disabled = true;
  try {
    say("Look at your wallet: it asks you to connect, and then to sign.");
    const accounts = await provider.request({ method: "eth_requestAccounts" });
    const account = accounts.find((one) => one.toLowerCase() === request.wallet.toLowerCase());
    if (!account) throw new Error(`Your wallet showed another account. Choose ${request.wallet} in it, and try again.`);
    await toChain(provider);
    const params = [account, JSON.stringify(request.message)];
    await send(await provider.request({ method: "eth_signTypedData_v4", params }));
  } catch (error) {
    say(error.code === 4001 ? "You declined in your wallet; nothing was recorded." : error.message || "That did not work.", "bad");
  } finally {
    button.disabled = false;
  }
}

async function send(signature) {
  say("Sending …");
  const { sentence } = await ask("signature", { signature });
  for (const id of ["wallets", "by-hand", "about", "compare"]) at(id).hidden = true;
  at("title").textContent = "Done";
  say(`${sentence} You can close this page.`, "good");
}

at("send").addEventListener("click", () => send(at("signature").value.trim()).catch((error) => say(error.message, "bad")));
at("copy").addEventListener("click", () => {
  at("message").select();
  navigator.clipboard?.writeText(at("message").value).then(() => say("Copied."), () => say("Press Ctrl-C to copy."));
});

window.addEventListener("eip6963:announceProvider", ({ detail }) => {
  if (detail?.provider && detail.info?.name) wallets.set(String(detail.info.name).slice(0, 40), detail.provider);
  showWallets();
});
window.dispatchEvent(new Event("eip6963:requestProvider"));
if (window.ethereum && !wallets.size) wallets.set("your wallet", window.ethereum);

try {
  if (!token) throw new Error("Open this page by the link that Discord shows you.");
  request = await ask("request");
  show();
} catch (error) {
  at("title").textContent = "Nothing to sign here";
  say(error.message, "bad");
}
