// Zones on the first reference: drawn and changed with mouse, finger or keys. All texts are set as text.
"use strict";
{
  const form = $("zones");
  const svg = form.querySelector("svg"), shapes = $("shapes"), list = $("list");
  const editable = Boolean(form.elements.plan);
  const { width, height } = svg.viewBox.baseVal;
  const KINDS = ["ignore", "include", "check"];
  const NEAR = 12; // screen pixels: a click so near the first corner closes; a drag is longer than half of it
  const past = [];
  let zones = JSON.parse(form.dataset.zones);
  zones.forEach((zone, index) => { zone.number = index + 1; }); // of its mask, as the server knows it
  let corners = []; // of the polygon that is being drawn
  let cross = [width / 2, height / 2];
  let drag = null;
  const settings = () => JSON.stringify([zones, $("scale")?.value, $("fixed")?.checked]);
  const saved = settings();

  const draws = () => editable && form.elements.tool.value === "draw";
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  const inside = ([x, y]) => [clamp(Math.round(x), width), clamp(Math.round(y), height)];
  const pixels = (number) => number / svg.getScreenCTM().a; // of the screen -> of the reference
  const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const say = (text) => { $("say").textContent = text; };
  const nameOf = (index) => `zone ${index + 1}, ${zones[index].kind}${zones[index].name ? ` ${zones[index].name}` : ""}`;
  const placeOf = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return inside([at.x, at.y]);
  };

  // ---- what is shown
  const make = (tag, attributes, parent, text) => {
    const svgTag = ["polygon", "polyline", "circle", "line", "text", "image"].includes(tag);
    const element = svgTag ? document.createElementNS(svg.namespaceURI, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const showShapes = () => {
    const held = document.activeElement?.closest?.("#shapes [data-zone]")?.dataset;
    const focused = held && `[data-zone="${held.zone}"]${held.corner === undefined ? ":not([data-corner])" : `[data-corner="${held.corner}"]`}`;
    shapes.replaceChildren();
    svg.classList.toggle("drawing", draws());
    svg.classList.toggle("moving", editable && !draws());
    zones.forEach((zone, index) => {
      if (zone.mask) return make("image", { href: `${form.dataset.address}${zone.number}/mask`, width, height, preserveAspectRatio: "none" }, shapes);
      const points = zone.points.join(" ");
      make("polygon", { points, class: "halo" }, shapes);
      const shape = make("polygon", { points, class: zone.kind, "data-zone": index }, shapes);
      const [left, top] = zone.points[0]; // the number stands inside, as far as the first corner is the upper left one
      make("text", { transform: `translate(${left + pixels(16)} ${top + pixels(24)}) scale(${pixels(20)})` }, shapes, index + 1);
      if (!editable || draws()) return;
      for (const [name, value] of Object.entries({ tabindex: 0, role: "button", "aria-label": nameOf(index) })) shape.setAttribute(name, value);
      zone.points.forEach((point, corner) => make("circle", {
        cx: point[0], cy: point[1], r: pixels(8), "data-zone": index, "data-corner": corner, tabindex: 0, role: "button",
        "aria-label": `corner ${corner + 1} of ${nameOf(index)} at ${point.join(", ")}`,
      }, shapes));
    });
    if (drag?.kind === "rectangle") make("polygon", { points: drag.points.join(" "), class: "draft" }, shapes);
    if (corners.length) {
      make("polyline", { points: [...corners, cross].join(" "), class: "draft" }, shapes);
      corners.forEach(([cx, cy]) => make("circle", { cx, cy, r: pixels(6) }, shapes));
    }
    if (draws() && document.activeElement === svg) {
      make("line", { x1: 0, x2: width, y1: cross[1], y2: cross[1] }, shapes);
      make("line", { x1: cross[0], x2: cross[0], y1: 0, y2: height }, shapes);
    }
    if (focused) shapes.querySelector(focused)?.focus({ preventScroll: true });
    if (!editable) return;
    $("close").disabled = corners.length < 3;
    $("undo").disabled = !past.length;
    form.querySelector("button.main").disabled = corners.length > 0 || settings() === saved;
    form.elements.plan.value = JSON.stringify({
      zones: zones.map(({ number, ...zone }) => zone),
      mm_per_pixel: $("scale").value.trim() === "" ? null : Number($("scale").value.replace(",", ".")),
      fixed_camera: $("fixed").checked,
      base: Number(form.dataset.base),
    });
  };
  const labelled = (text, control, attributes, row) => make(control, attributes, make("label", {}, row, `${text} `));
  const showList = () => {
    $("none").hidden = zones.length > 0;
    list.replaceChildren();
    zones.forEach((zone, index) => {
      const item = make("li", { class: zone.kind }, list);
      if (!editable) return make("span", {}, item, `${nameOf(index)}${zone.max_shift_mm ? `, at most ${zone.max_shift_mm} mm off` : ""}`);
      const row = make("div", { class: "row" }, item);
      make("b", {}, row, index + 1);
      const kind = labelled("kind", "select", { name: `kind-${index}` }, row);
      KINDS.forEach((each) => make("option", {}, kind, each));
      kind.value = zone.kind;
      kind.addEventListener("change", () => change(() => {
        zone.kind = kind.value;
        if (zone.kind !== "check") delete zone.max_shift_mm;
      }));
      const name = labelled("name", "input", { maxlength: 64, name: `name-${index}`, autocomplete: "off" }, row);
      name.value = zone.name || "";
      name.addEventListener("change", () => change(() => { zone.name = name.value; }));
      if (zone.kind === "check") {
        const shift = labelled("at most off, mm", "input", { inputmode: "decimal", size: 6, name: `shift-${index}` }, row);
        shift.value = zone.max_shift_mm || "";
        shift.addEventListener("change", () => change(() => {
          const number = Number(shift.value.replace(",", "."));
          if (number > 0) zone.max_shift_mm = number; else delete zone.max_shift_mm;
        }));
      }
      const remove = make("button", { type: "button", "aria-label": `Remove ${nameOf(index)}` }, row, "Remove");
      remove.addEventListener("click", () => change(() => zones.splice(index, 1)));
      if (zone.mask) return make("p", { class: "made" }, item, "a mask that was given as a file");
      const text = labelled("corners, x,y in pixels", "textarea", { name: `corners-${index}`, spellcheck: "false" }, item);
      text.value = zone.points.join("  ");
      text.addEventListener("change", () => {
        const numbers = (text.value.match(/-?\d+(\.\d+)?/g) || []).map(Number);
        const points = [];
        for (let each = 0; each + 1 < numbers.length; each += 2) points.push(inside([numbers[each], numbers[each + 1]]));
        if (numbers.length % 2 || points.length < 3) {
          text.value = zone.points.join("  ");
          return showProblem(`zone ${index + 1}: give three corners or more, each as x,y`);
        }
        showProblem("");
        change(() => { zone.points = points; });
      });
    });
  };
  const show = () => { showShapes(); showList(); };

  // ---- changes, each of which can be undone
  const remember = () => past.push(JSON.stringify([zones, corners]));
  const change = (work) => { remember(); work(); show(); };
  const undo = () => {
    if (!past.length) return;
    [zones, corners] = JSON.parse(past.pop());
    show();
    say("undone");
  };
  const addZone = (points) => {
    zones.push({ kind: $("kind").value, name: "", points });
    corners = [];
    say(`${nameOf(zones.length - 1)} with ${points.length} corners`);
  };
  const setCorner = (at) => {
    if (corners.length >= 3 && distance(at, corners[0]) < pixels(NEAR)) return change(() => addZone(corners));
    if (corners.length && distance(at, corners.at(-1)) < pixels(3)) return; // the second half of a double click
    change(() => { corners.push(at); });
    say(`corner ${corners.length} at ${at.join(", ")}`);
  };
  const moved = (points, by) => { // as far as all of them stay in the picture
    const free = [width, height].map((most, axis) => {
      const all = points.map((point) => point[axis]);
      return Math.min(Math.max(by[axis], -Math.min(...all)), most - Math.max(...all));
    });
    return points.map(([x, y]) => [x + free[0], y + free[1]]);
  };
  const move = (zone, corner, by, from) => {
    if (corner === undefined) zones[zone].points = moved(from, by);
    else zones[zone].points[corner] = inside([from[corner][0] + by[0], from[corner][1] + by[1]]);
  };

  // ---- mouse and finger
  if (editable) {
    svg.addEventListener("mousedown", (event) => { // the focus must not scroll the picture away under the mouse
      event.preventDefault();
      (event.target.closest("[tabindex]") || svg).focus({ preventScroll: true });
    });
    svg.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button) return;
      const at = placeOf(event);
      const { zone, corner } = event.target.dataset;
      if (draws()) drag = { kind: "click", start: at };
      else if (zone !== undefined) drag = { kind: "move", start: at, zone: Number(zone), corner, from: zones[zone].points.map((point) => [...point]), begun: false };
      if (drag) svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return;
      const at = placeOf(event);
      if (draws()) cross = at;
      if (drag?.kind === "move") {
        if (!drag.begun) remember();
        drag.begun = true;
        move(drag.zone, drag.corner, [at[0] - drag.start[0], at[1] - drag.start[1]], drag.from);
      } else if (drag && !corners.length && (drag.kind === "rectangle" || distance(at, drag.start) > pixels(NEAR / 2))) {
        const [[x, y], [u, v]] = [drag.start, at];
        drag = { kind: "rectangle", start: drag.start, points: [[x, y], [u, y], [u, v], [x, v]] };
      }
      if (drag || corners.length) showShapes();
    });
    svg.addEventListener("pointerup", (event) => {
      const ended = drag;
      drag = null;
      if (!ended || !event.isPrimary) return;
      if (ended.kind === "click") setCorner(placeOf(event));
      else if (ended.kind === "move") show();
      else if (new Set(ended.points.map(([x]) => x)).size > 1 && new Set(ended.points.map(([, y]) => y)).size > 1) change(() => addZone(ended.points));
      else showShapes();
    });
    svg.addEventListener("pointercancel", () => { drag = null; show(); });

    // ---- keys
    const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const arrow = ARROWS[event.key];
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 50));
      const by = arrow?.map((each) => each * step);
      const { zone, corner } = event.target.dataset;
      if (zone !== undefined) {
        const points = zones[zone].points;
        if (by) change(() => move(Number(zone), corner, by, points.map((point) => [...point])));
        else if (event.key === "Delete" && corner !== undefined && points.length > 3) change(() => points.splice(Number(corner), 1));
        else if (event.key === "Delete") { change(() => zones.splice(Number(zone), 1)); svg.focus(); }
        else return;
      } else if (!draws()) return;
      else if (by) { cross = inside([cross[0] + by[0], cross[1] + by[1]]); say(cross.join(", ")); showShapes(); }
      else if (event.key === "Enter" || event.key === " ") setCorner([...cross]);
      else if (event.key === "c" && corners.length >= 3) change(() => addZone(corners));
      else if (event.key === "Backspace" && corners.length) change(() => corners.pop());
      else if (event.key === "Escape" && corners.length) change(() => { corners = []; });
      else return;
      event.preventDefault();
    });
    for (const name of ["focus", "blur"]) svg.addEventListener(name, showShapes);
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input:not([type=checkbox], [type=radio]), textarea");
      if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || typing) return;
      event.preventDefault();
      undo();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
      event.preventDefault(); // a name is given with Enter; the form is sent with its button
      event.target.dispatchEvent(new Event("change", { bubbles: true }));
    });
    $("undo").addEventListener("click", undo);
    $("close").addEventListener("click", () => change(() => addZone(corners)));
    form.addEventListener("change", ({ target }) => {
      if (target.name === "tool" && draws() === false && corners.length) change(() => { corners = []; });
      showShapes();
    });
    for (const id of ["scale", "fixed"]) $(id).addEventListener("input", showShapes);
  }
  addEventListener("resize", showShapes);
  show();
}
