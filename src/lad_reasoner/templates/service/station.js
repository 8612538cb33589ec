// The page of a station: dropping, the camera, the line's events, keys, the slider. All texts are set as text.
"use strict";
const $ = (id) => document.getElementById(id);
const showProblem = (text) => { $("problem").textContent = text; $("problem").hidden = !text; };

// A message stays until the person sends something again: what the page asks for by itself, and the further ones of
// several pictures, take none away but their own.
let goesOn = false;
let ofPage = false; // the message is of what the page asked for by itself
const byPage = ({ requestConfig: { verb } }) => verb === "get";
document.body.addEventListener("htmx:beforeRequest", ({ detail }) => { if (ofPage || !(byPage(detail) || goesOn)) showProblem(""); });
document.body.addEventListener("htmx:responseError", ({ detail }) => {
  if (byPage(detail) && !$("problem").hidden) return;
  ofPage = byPage(detail);
  let text = `the server answered ${detail.xhr.status}`;
  try { text = JSON.parse(detail.xhr.responseText).error || text; } catch { /* not from our server */ }
  if (detail.xhr.status === 401) text = "the key of this browser is not valid any more; log in in another tab, then send again";
  showProblem(text);
});
document.body.addEventListener("htmx:sendError", ({ detail }) => {
  if (byPage(detail) && !$("problem").hidden) return;
  ofPage = byPage(detail);
  showProblem("the server cannot be reached");
});

// ---- the verdict
let followOn = () => {}; // shows the newest part of the line, unless something else is more important
const shownId = () => Number(document.querySelector("#verdict article")?.dataset.id || 0);
const shownForm = () => document.querySelector("#verdict form.feedback");
document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
  const article = detail.target.id === "verdict" && detail.target.querySelector("article");
  if (!article) return;
  $("say").textContent = article.dataset.say;
  restoreName();
  setTimeout(followOn);
});
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  // What was said of one part does not come back over another one, which is there by now.
  const reviewed = detail.pathInfo.requestPath.match(/\/inspections\/(\d+)\/feedback$/);
  if (!reviewed || Number(reviewed[1]) === shownId()) return;
  detail.shouldSwap = false;
  $("say").textContent = "saved";
});
document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-print]")) print();
  const button = target.closest("[data-toggle]");
  if (!button) return;
  const on = button.closest("article").querySelector(".side").classList.toggle(button.dataset.toggle);
  button.setAttribute("aria-pressed", on);
});

// ---- the pictures of a verdict in their real pixels, or several times as large
const STEPS = [1, 2, 4, 8]; // screen pixels a pixel of the picture
const sizeOf = (shown) => (shown.viewBox ? shown.viewBox.baseVal : { width: shown.naturalWidth, height: shown.naturalHeight });
const scaleOf = (shown) => Math.min(shown.clientWidth / sizeOf(shown).width, shown.clientHeight / sizeOf(shown).height);
const zoomOf = (side) => Number(side.dataset.zoom || 0); // 0: as large as the page has room for
/** Where the middle of the frame is in the picture, as shares of it; both pictures then show the same place. */
const middleOf = (frame) => [
  (frame.scrollLeft + frame.clientWidth / 2) / frame.scrollWidth, (frame.scrollTop + frame.clientHeight / 2) / frame.scrollHeight,
];
const placed = new WeakMap(); // where the page itself scrolled a frame to
const centre = (frame, [x, y]) => {
  frame.scrollLeft = x * frame.scrollWidth - frame.clientWidth / 2;
  frame.scrollTop = y * frame.scrollHeight - frame.clientHeight / 2;
  placed.set(frame, [frame.scrollLeft, frame.scrollTop]);
};
const setZoom = (side, zoom, middle) => {
  const frames = [...side.querySelectorAll(".frame")];
  const place = middle || middleOf(frames[0]);
  side.dataset.zoom = zoom;
  side.classList.toggle("zoomed", zoom > 0);
  for (const frame of frames) {
    const [shown] = frame.children;
    const { width, height } = sizeOf(shown);
    for (const [name, value] of [["width", width], ["height", height]]) {
      if (zoom) shown.setAttribute(name, zoom * value); else shown.removeAttribute(name);
    }
    // Only what can be scrolled is a stop of the keyboard.
    if (zoom) frame.tabIndex = 0; else frame.removeAttribute("tabindex");
  }
  for (const frame of frames) centre(frame, place);
  const text = zoom ? `${100 * zoom} %` : "whole";
  side.parentElement.querySelector(".zoom").textContent = text;
  side.parentElement.querySelector("button[data-zoom='1']").disabled = zoom === STEPS.at(-1);
  side.parentElement.querySelector("button[data-zoom='-1']").disabled = !zoom;
};
const stepZoom = (side, direction) => {
  const now = zoomOf(side), shown = scaleOf(side.querySelector(".frame").children[0]);
  const nearer = now ? STEPS[STEPS.indexOf(now) + 1] : STEPS.find((step) => step > 1.05 * shown) ?? STEPS.at(-1);
  const farther = STEPS.filter((step) => step < now && step > 1.05 * Number(side.dataset.whole)).at(-1) ?? 0;
  if (!now) side.dataset.whole = shown;
  if (direction > 0 && nearer) setZoom(side, nearer);
  if (direction < 0 && now) setZoom(side, farther);
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-zoom]");
  if (button) return stepZoom(button.closest("article").querySelector(".side"), Number(button.dataset.zoom));
  const frame = event.target.closest(".frame");
  if (!frame) return;
  const side = frame.closest(".side"), [shown] = frame.children;
  if (zoomOf(side)) return setZoom(side, 0);
  const room = shown.getBoundingClientRect(), { width, height } = sizeOf(shown), scale = scaleOf(shown);
  side.dataset.whole = scale;
  // The picture stands in the middle of its element, with free room at two sides.
  const x = (event.clientX - room.left - (room.width - scale * width) / 2) / (scale * width);
  const y = (event.clientY - room.top - (room.height - scale * height) / 2) / (scale * height);
  setZoom(side, STEPS.find((step) => step > 1.05 * scale) ?? STEPS.at(-1), [x, y]);
});
document.addEventListener("scroll", ({ target }) => {
  if (!target.matches?.(".zoomed .frame")) return;
  const [left, top] = placed.get(target) ?? [];
  if (left === target.scrollLeft && top === target.scrollTop) return; // else the two would move each other without end
  for (const other of target.closest(".side").querySelectorAll(".frame")) {
    if (other !== target) centre(other, middleOf(target));
  }
}, true);

document.addEventListener("change", ({ target }) => {
  if (target.dataset.hide) target.closest("article").querySelector(".side").classList.toggle(target.dataset.hide, !target.checked);
  if (target.name === "who") localStorage.setItem("lad-who", target.value);
  if (target.id === "keys") localStorage.setItem("lad-keys", target.checked ? "" : "off");
});
const restoreName = () => {
  for (const input of document.querySelectorAll("input[name=who]")) input.value = localStorage.getItem("lad-who") || "";
};
restoreName();
if ($("keys")) $("keys").checked = localStorage.getItem("lad-keys") !== "off";

document.addEventListener("keydown", (event) => {
  const begun = event.key === "Escape" && event.target.closest("form.feedback");
  if (begun) {  // nothing is said, and the line goes on
    begun.reset();
    restoreName();
    document.activeElement.blur();
    followOn();
    return;
  }
  const opinion = { g: "good", m: "missed" }[event.key];
  const zoom = { "+": 1, "-": -1 }[event.key];
  const typing = event.target.closest("input:not([type=checkbox], [type=radio], [type=range], [type=file]), select, textarea");
  if (!(opinion || zoom) || !$("keys")?.checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const side = zoom && document.querySelector("#verdict .side");
  if (side) {
    event.preventDefault();
    stepZoom(side, zoom);
  }
  const form = opinion && shownForm();
  if (!form) return;
  event.preventDefault();
  form.elements.opinion.value = opinion;
  form.elements.reason.focus();
});

// ---- pictures
const inspect = $("inspect");
if (inspect) {
  const { picture: input, part } = inspect.elements;
  const waiting = [];
  let sent = null; // the picture and the part number that are under way
  let refused = "";
  const next = () => {
    if (inspect.classList.contains("htmx-request")) return;
    if (!input.files.length) {
      if (!waiting.length) return;
      const files = new DataTransfer();
      files.items.add(waiting.shift());
      input.files = files.files;
    }
    inspect.requestSubmit();
  };
  const goOn = () => { goesOn = true; next(); goesOn = false; };
  const add = (files) => { waiting.push(...files); next(); };
  inspect.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (detail.elt !== inspect) return;
    sent = { file: input.files[0], part: part.value };
    if (!goesOn) refused = "";
  });
  // Later, since the reason is said after this event where there was no answer.
  inspect.addEventListener("htmx:afterRequest", ({ detail }) => { if (detail.elt === inspect) setTimeout(ended, 0, detail); });
  const ended = ({ successful, xhr: { status } }) => {
    // No answer, no key, too many requests, a fault of the server: the same picture may be judged later.
    const unsent = !status || status === 401 || status === 429 || status >= 500;
    if (!successful) {
      const others = unsent && waiting.length ? ` and ${waiting.length} more` : "";
      const why = $("problem").textContent.replace(`${sent.file.name}: `, ""); // the server may begin with it
      const what = `${sent.file.name}${others}: ${why}${unsent ? "; press Inspect to send again" : ""}`;
      refused = refused ? `${refused} · ${what}` : what;
      showProblem(refused);
    }
    if (!unsent) { // what was chosen or typed meanwhile is of the next part
      if (part.value === sent.part) part.value = "";
      if (input.files[0] === sent.file) input.value = "";
      if (!input.files.length) goOn();
    }
    followOn();
  };
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); inspect.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) inspect.classList.remove("over"); });
  document.addEventListener("drop", (event) => { event.preventDefault(); inspect.classList.remove("over"); add(event.dataTransfer.files); });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });

  // The camera of a browser needs this machine or https.
  const video = $("video");
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  $("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch (error) { return showProblem(`the camera cannot be used: ${error.message}`); }
    video.hidden = false;
  });
  // Its first picture takes a moment, before which there is nothing to take, and may be of one colour until it is shown.
  video.addEventListener("loadeddata", () => {
    const ready = () => { $("shoot").hidden = false; $("shoot").focus(); };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(ready);
    else ready();
  });
  $("shoot").addEventListener("click", () => {
    if (video.readyState < video.HAVE_CURRENT_DATA) return; // the camera was chosen again
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => add([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
  });

  // A verdict of the line is shown unless a person is about to say something of the one on the page: asked when it is
  // told of, and again when it has come, since the person may have begun, or a newer one may have come, in between.
  const busy = () => {
    const form = shownForm();
    if (!form) return false;
    const { opinion, reason, note } = form.elements; // a browser may leave the focus where it was at a click
    return form.contains(document.activeElement) || form.classList.contains("htmx-request") || Boolean(opinion.value || reason.value || note.value);
  };
  const wanted = (id) => $("follow").checked && !busy() && id > shownId();
  let told = 0; // of the newest part of the line
  followOn = () => {
    $("behind").hidden = !($("follow").checked && busy() && told > shownId());
    if (!wanted(told) || inspect.classList.contains("htmx-request")) return;
    htmx.ajax("GET", `${inspect.dataset.verdict}${told}/verdict`, { target: "#verdict", swap: "innerHTML" });
  };
  $("follow").addEventListener("change", followOn);
  document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const followed = detail.pathInfo.requestPath.match(/\/inspections\/(\d+)\/verdict$/);
    if (followed && !wanted(Number(followed[1]))) detail.shouldSwap = false;
  });
  const listen = () => {
    const events = new EventSource(inspect.dataset.events);
    events.addEventListener("open", () => { $("line").hidden = true; });
    events.addEventListener("message", ({ data }) => { told = Math.max(told, JSON.parse(data).id); followOn(); });
    events.addEventListener("error", () => {
      $("line").hidden = false; // a verdict that stands still must not be taken for the newest
      // The browser tries again by itself after a lost connection, not after an answer such as 502 of a proxy.
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
    });
  };
  listen();
}

// ---- the limit
const limit = $("limit");
if (limit) {
  const { good, bad } = JSON.parse(limit.dataset.scores);
  const slider = limit.elements.limit;
  // A browser may bring back what stood there before, and keeps fewer digits of a number than it is given.
  const unmoved = slider.cloneNode();
  unmoved.value = slider.defaultValue;
  const first = unmoved.value;
  const update = () => {
    const value = Number(slider.value);
    const line = limit.querySelector("line");
    for (const name of ["x1", "x2"]) line.setAttribute(name, 1000 * value);
    limit.elements.value.textContent = value.toFixed(4);
    const above = (scores) => scores.filter((score) => score > value).length;
    $("counts").textContent = `above it: ${above(good)} of ${good.length} good, ${above(bad)} of ${bad.length} anomalous`;
    const button = limit.querySelector("button");
    if (button) button.disabled = slider.value === first;
  };
  slider.addEventListener("input", update);
  update();
}
