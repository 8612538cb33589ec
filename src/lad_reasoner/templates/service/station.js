// The page of a station: dropping, the camera, the line's events, keys, the slider. All texts are set as text.
"use strict";
const $ = (id) => document.getElementById(id);
const showProblem = (text) => { $("problem").textContent = text; $("problem").hidden = !text; };

document.body.addEventListener("htmx:beforeRequest", () => showProblem(""));
document.body.addEventListener("htmx:responseError", ({ detail }) => {
  let text = `the server answered ${detail.xhr.status}`;
  try { text = JSON.parse(detail.xhr.responseText).error || text; } catch { /* not from our server */ }
  showProblem(text);
});
document.body.addEventListener("htmx:sendError", () => showProblem("the server cannot be reached"));

// ---- the verdict
const shownId = () => Number(document.querySelector("#verdict article")?.dataset.id || 0);
document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
  const article = detail.target.id === "verdict" && detail.target.querySelector("article");
  if (article) { $("say").textContent = article.dataset.say; restoreName(); }
});
document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-print]")) print();
  const button = target.closest("[data-toggle]");
  if (!button) return;
  const on = button.closest("article").querySelector(".side").classList.toggle(button.dataset.toggle);
  button.setAttribute("aria-pressed", on);
});
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
    return;
  }
  const opinion = { g: "good", m: "missed" }[event.key];
  const typing = event.target.closest("input:not([type=checkbox], [type=radio], [type=range], [type=file]), select, textarea");
  if (!opinion || !$("keys")?.checked || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const form = document.querySelector("#verdict form.feedback");
  if (!form) return;
  event.preventDefault();
  form.elements.opinion.value = opinion;
  form.elements.reason.focus();
});

// ---- pictures
const inspect = $("inspect");
if (inspect) {
  const input = inspect.elements.picture;
  const waiting = [];
  const next = () => {
    if (!waiting.length || inspect.classList.contains("htmx-request")) return;
    const files = new DataTransfer();
    files.items.add(waiting.shift());
    input.files = files.files;
    inspect.requestSubmit();
  };
  const add = (files) => { waiting.push(...files); next(); };
  inspect.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.elt !== inspect) return;
    inspect.elements.part.value = "";
    input.value = "";
    setTimeout(next);
  });
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
    video.hidden = $("shoot").hidden = false;
    $("shoot").focus();
  });
  $("shoot").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    if (!canvas.width) return;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => add([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
  });

  // A verdict of the line is shown unless a person is about to say something of the one on the page: asked when it is
  // told of, and again when it has come, since the person may have begun, or a newer one may have come, in between.
  const busy = () => document.querySelector("#verdict form.feedback")?.contains(document.activeElement);
  const wanted = (id) => $("follow").checked && !busy() && id > shownId();
  new EventSource(inspect.dataset.events).addEventListener("message", ({ data }) => {
    const { id } = JSON.parse(data);
    if (!wanted(id) || inspect.classList.contains("htmx-request")) return;
    htmx.ajax("GET", `${inspect.dataset.verdict}${id}/verdict`, { target: "#verdict", swap: "innerHTML" });
  });
  document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const followed = detail.pathInfo.requestPath.match(/\/inspections\/(\d+)\/verdict$/);
    if (followed && !wanted(Number(followed[1]))) detail.shouldSwap = false;
  });
}

// ---- the limit
const limit = $("limit");
if (limit) {
  const { good, bad } = JSON.parse(limit.dataset.scores);
  const slider = limit.elements.limit;
  const first = slider.value;
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
