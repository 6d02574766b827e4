// Replaces what is shown every two seconds. Without this, the page refreshes as a whole.
"use strict";
const live = document.getElementById("live");
const button = document.getElementById("pause");
const state = document.getElementById("state");
const INTERVAL = 2000;
let isPaused = false;

async function refresh() {
  if (isPaused || document.hidden) return;
  try {
    const response = await fetch(live.dataset.source, { credentials: "same-origin" });
    if (!response.ok || response.redirected) throw new Error(`answer ${response.status}`);
    const text = await response.text();
    if (isPaused) return;
    replace(text);
    state.textContent = "";
  } catch (error) {
    state.textContent = `Not up to date: ${error.message}`;
  }
}

function replace(text) {
  const focused = document.activeElement;
  const href = live.contains(focused) ? focused.getAttribute("href") : null;
  const label = live.contains(focused) ? focused.getAttribute("aria-labelledby") : null;
  const scrolls = [...live.querySelectorAll(".table")].map((one) => [one.getAttribute("aria-labelledby"), one.scrollLeft]);
  live.innerHTML = text;
  for (const [name, left] of scrolls) {
    const again = live.querySelector(`.table[aria-labelledby="${name}"]`);
    if (again) again.scrollLeft = left;
  }
  const again = href
    ? [...live.querySelectorAll("a")].find((one) => one.getAttribute("href") === href)
    : label && live.querySelector(`.table[aria-labelledby="${label}"]`);
  if (again) again.focus({ preventScroll: true });
}

button.hidden = false;
button.addEventListener("click", () => {
  isPaused = !isPaused;
  button.setAttribute("aria-pressed", String(isPaused));
  button.textContent = isPaused ? "Go on" : "Pause";
  refresh();
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, INTERVAL);
