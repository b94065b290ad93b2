// Videos play muted and looped while they are in view, and rest elsewhere. Who asks for less motion starts them by hand.

const still = matchMedia("(prefers-reduced-motion: reduce)");
const resting = new WeakSet(); // videos that a person has paused

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) rest(target);
    else if (!still.matches && !resting.has(target)) target.play().catch(() => {}); // a browser may forbid it
  }
}, { threshold: 0.5 });

function rest(video) {
  if (video.paused) return;
  video.dataset.quiet = "";
  video.pause();
}

export function watch(video) {
  video.muted = true;
  video.addEventListener("pause", () => {
    if ("quiet" in video.dataset) delete video.dataset.quiet;
    else if (video.isConnected && !video.ended) resting.add(video);
  });
  video.addEventListener("play", () => resting.delete(video));
  watcher.observe(video);
  return video;
}
