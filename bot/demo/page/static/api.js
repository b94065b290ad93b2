// The connection to the page's server: requests that a member makes, and the events that a member sees.

export class CannotError extends Error {}

export class Api {
  constructor(token) {
    this.token = token;
  }

  async #ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(`/api/${path}`, {
        ...options,
        headers: { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json" },
      });
    } catch {
      throw new CannotError("The demo does not answer. Is it still running?");
    }
    const body = await answer.json().catch(() => ({ error: `The demo answered with status ${answer.status}.` }));
    if (!answer.ok) throw new CannotError(body.error ?? `The demo answered with status ${answer.status}.`);
    return body;
  }

  look(what, query = {}) {
    return this.#ask(`${what}?${new URLSearchParams(query)}`);
  }

  act(name, body) {
    return this.#ask(name, { method: "POST", body: JSON.stringify(body) });
  }
}

// A connection for one member. It opens again by itself; `onState` is called with "open" and "closed".
export class Events {
  constructor(token, member, onEvent, onState) {
    Object.assign(this, { token, member, onEvent, onState, ended: false, pause: 250 });
    this.#connect();
  }

  #connect() {
    const socket = new WebSocket(`ws://${location.host}/api/events`);
    this.socket = socket;
    socket.onopen = () => socket.send(JSON.stringify({ token: this.token, member: this.member }));
    socket.onmessage = ({ data }) => {
      if (this.ended) return;
      if (this.pause !== 250 || !this.announced) {
        this.announced = true;
        this.pause = 250;
        this.onState("open");
      }
      const { event, data: payload } = JSON.parse(data);
      this.onEvent(event, payload);
    };
    socket.onclose = ({ code }) => {
      if (this.ended) return;
      this.announced = false;
      this.onState("closed", code);
      this.timer = setTimeout(() => this.#connect(), this.pause);
      this.pause = Math.min(this.pause * 2, 4000);
    };
  }

  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
