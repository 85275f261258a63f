"use strict";
// The viewer of the report: shows what the page already holds, measures nothing. Places are millimetres on the slice.
// All text goes in by textContent, so that nothing a file or a stage wrote is ever read as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEVEL_MM = 120; // height of the picture on a chosen level without lines
  const LINES_SHARE = 0.42; // of the picture that the lines of a chosen level take
  const ZOOM_MAX = 8, ZOOM_STEP = 1.3;
  const BESIDE = matchMedia("(min-width: 1000px)"); // the picture stays in view beside the tables
  const CLICK_MM = 40; // farther from every level than this a click chooses nothing
  const PAPER = { width: 397, height: 397 }; // pixels of the picture when the page is printed, see report.css
  const WHEEL_STEP = 60, LINE = 20; // pixels of a wheel or a touch pad for one slice, and of a line
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const find = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const stage = find("stage"), picture = find("picture"), slider = find("slider");
  const state = { slice: data.middle, subject: null, zoom: 1, x: data.home.x_mm, y: data.height_mm / 2 };
  const groups = new Map();
  let printing = false;

  function make(name, attributes, parent, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // ---- slices

  function groupOf(number) {
    if (!groups.has(number)) {
      const slice = data.slices[number], [x, y, width, height] = data.layer_box_mm;
      const group = make("g", {}, find("slices"));
      const fill = { preserveAspectRatio: "none" };
      make("image", { ...fill, href: slice.image, width: data.width_mm, height: data.height_mm, class: "grey" }, group);
      for (const layer of data.layers) {
        const href = slice.layers[layer];
        if (href) make("image", { ...fill, href, x, y, width, height, class: `layer-${layer}` }, group);
      }
      groups.set(number, group);
    }
    return groups.get(number);
  }

  function showSlice(number) {
    state.slice = Math.min(Math.max(number, 0), data.slices.length - 1);
    groupOf(state.slice);
    for (const [key, group] of groups) group.style.display = key === state.slice ? "" : "none";
    find("still")?.remove();
    const { caption } = data.slices[state.slice];
    slider.value = state.slice;
    slider.setAttribute("aria-valuetext", caption);
    find("caption").textContent = caption;
    paintTones();
    draw();
  }

  function paintTones() {
    const filter = `brightness(${find("brightness").value}%) contrast(${find("contrast").value}%)`;
    for (const image of all(".grey", picture)) image.style.filter = filter;
  }

  // ---- view

  const HOME = data.home, LEAST = Math.min(1, HOME.width_mm / data.width_mm); // zoom 1 shows HOME, LEAST everything
  const viewSize = () => [HOME.width_mm / state.zoom, data.height_mm / state.zoom];
  const within = (value, half, end) => (2 * half >= end ? end / 2 : Math.min(Math.max(value, half), end - half));

  function scale() { // pixels of a millimetre, on the screen or on paper
    const box = printing ? PAPER : picture.getBoundingClientRect(), [width, height] = viewSize();
    return Math.min(box.width / width, box.height / height) || 1;
  }

  function setView(zoom, x, y) {
    state.zoom = Math.min(Math.max(zoom, LEAST), ZOOM_MAX);
    const [width, height] = viewSize();
    state.x = within(x, width / 2, data.width_mm);
    state.y = within(y, height / 2, data.height_mm);
    picture.setAttribute("viewBox", `${state.x - width / 2} ${state.y - height / 2} ${width} ${height}`);
    stage.classList.toggle("enlarged", state.zoom > LEAST);
    draw();
  }

  function closeUp(subject, place) {
    const ends = (data.lines[subject] || []).filter((line) => line.first).flatMap((line) => line.ends);
    if (!ends.length) return setView(data.height_mm / LEVEL_MM, place.x, place.y);
    const xs = ends.flatMap(([x1, , x2]) => [x1, x2]), ys = ends.flatMap(([, y1, , y2]) => [y1, y2]);
    const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
    const fit = Math.min(HOME.width_mm / (right - left), data.height_mm / (bottom - top)) * LINES_SHARE;
    return setView(Math.max(fit, LEAST), (left + right) / 2, (top + bottom) / 2);
  }

  function drawBar(pixels) {
    const bar = find("bar"), [width, height] = viewSize();
    bar.replaceChildren();
    const length = [50, 20, 10, 5, 1].find((mm) => mm < 0.4 * width);
    if (!length) return;
    const x = state.x - width / 2 + 10 / pixels, y = state.y + height / 2 - 10 / pixels;
    for (const kind of ["halo", ""]) make("line", { x1: x, x2: x + length, y1: y, y2: y, class: kind }, bar);
    make("text", { x, y: y - 10 / pixels }, bar, `${length} mm`);
  }

  function drawNames(pixels) {
    const target = find("names");
    target.replaceChildren();
    for (const { text, kind, x, y } of data.slices[state.slice].names) {
      if (text === state.subject && kind === "disc") continue; // its lines need the room
      const left = state.x - viewSize()[0] / 2, wide = text.length * 7.5 / pixels;
      const at = kind === "disc" && x > left ? Math.max(x - 5 / pixels, left + wide) : x; // not cut by the border
      make("text", { x: at, y, class: kind, "data-subject": text }, target, text);
    }
  }

  // A number at the upper end of one line and the lower end of the next: neighbours do not cover each other.
  function label(line, number, pixels, target) {
    const [x1, y1, x2, y2] = line.ends[0];
    const upright = Math.abs(y2 - y1) > Math.abs(x2 - x1), lower = number % 2 === 1;
    const ends = [{ x: x1, y: y1 }, { x: x2, y: y2 }];
    const [first, last] = upright ? ends.sort((a, b) => a.y - b.y) : ends.sort((a, b) => a.x - b.x);
    const place = upright ? (lower ? last : first) : line.kind === "angle" ? first : last;
    const half = line.text.length * 4 / pixels; // of the text, roughly: enough to keep it inside
    const aside = upright ? 0 : (half + 6 / pixels) * (place === first ? -1 : 1);
    const edge = viewSize()[0] / 2 - half - 4 / pixels;
    const x = Math.min(Math.max(place.x + aside, state.x - edge), state.x + edge);
    const y = place.y + (upright ? (lower ? 11 : -11) / pixels : x === place.x + aside ? 0 : -12 / pixels);
    make("text", { x, y, class: line.kind }, target, line.text);
  }

  function chosenLines() {
    const part = all("[data-subject].part, [data-subject].other-part").find((p) => p.dataset.subject === state.subject);
    if (!part) return [];
    const drawn = new Set(all(".draw:checked", part).map((box) => box.dataset.key));
    return (data.lines[state.subject] || []).filter((line) => drawn.has(line.key));
  }

  function drawLines(pixels) {
    const target = find("lines"), list = find("drawn-list"), shown = data.slices[state.slice];
    target.replaceChildren();
    list.replaceChildren();
    chosenLines().forEach((line, number) => {
      const here = line.slice === state.slice || Math.abs(line.offset_mm - shown.offset_mm) <= data.same_slice_mm;
      const group = make("g", { class: here ? "here" : "elsewhere", "data-key": line.key }, target);
      make("title", {}, group, `${line.name}: ${line.value}`);
      for (const [x1, y1, x2, y2] of line.ends) {
        if (line.kind === "corners") {
          for (const [cx, cy] of [[x1, y1], [x2, y2]]) make("circle", { cx, cy, r: 4 / pixels, class: line.kind }, group);
        } else {
          for (const kind of ["halo", line.kind]) make("line", { x1, y1, x2, y2, class: kind }, group);
        }
      }
      label(line, number, pixels, group);
      list.append(item(`${line.name} ${line.value}`, line.kind));
    });
    find("drawn").hidden = !list.children.length;
    find("elsewhere").hidden = !target.querySelector(".elsewhere");
  }

  function item(text, kind) {
    const node = document.createElement("li");
    node.className = kind;
    node.textContent = text;
    return node;
  }

  function draw() {
    const pixels = scale();
    picture.style.fontSize = `${13 / pixels}px`;
    drawNames(pixels);
    drawLines(pixels);
    drawBar(pixels);
  }

  // ---- levels

  function choose(subject) {
    state.subject = subject;
    for (const button of all("button.subject")) {
      button.setAttribute("aria-pressed", String(button.dataset.subject === subject));
    }
    for (const node of all(".part, .findings tr[data-subject]")) {
      node.classList.toggle("chosen", node.dataset.subject === subject);
    }
    const place = data.places[subject];
    if (!place) {
      draw();
      return;
    }
    const first = (data.lines[subject] || []).find((line) => line.first);
    if (find("zoom-level").checked) closeUp(subject, place);
    showSlice(first ? first.slice : place.slice);
    if (!BESIDE.matches) stage.scrollIntoView({ block: "start" });
  }

  function neighbour(step) {
    const at = data.order.indexOf(state.subject);
    const next = at < 0 ? (step > 0 ? 0 : data.order.length - 1) : at + step;
    if (data.order[next]) choose(data.order[next]);
  }

  function letGo() {
    choose(null);
    setView(1, HOME.x_mm, state.y);
  }

  function chooseAt(event) {
    const named = event.target.closest("[data-subject]");
    if (named && data.places[named.dataset.subject]) {
      choose(named.dataset.subject);
      return;
    }
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    let best = null, nearest = CLICK_MM;
    for (const level of data.order) {
      const place = data.places[level];
      const away = place ? Math.hypot(place.x - at.x, place.y - at.y) : Infinity;
      if (away < nearest) [best, nearest] = [level, away];
    }
    if (best) choose(best);
  }

  // ---- hands

  let wheel = 0;
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the browser's own zoom
    const step = Math.sign(event.deltaY), next = state.slice + step;
    if (next < 0 || next >= data.slices.length) return; // at the last slice the page scrolls on
    event.preventDefault();
    const turned = event.deltaY * (event.deltaMode ? LINE : 1);
    wheel = Math.sign(wheel) === step ? wheel + turned : turned;
    if (Math.abs(wheel) >= WHEEL_STEP) {
      wheel = 0;
      showSlice(next);
    }
  }, { passive: false });

  const KEYS = {
    ArrowLeft: () => showSlice(state.slice - 1), ArrowRight: () => showSlice(state.slice + 1),
    ArrowUp: () => neighbour(-1), ArrowDown: () => neighbour(1),
    Home: () => showSlice(0), End: () => showSlice(data.slices.length - 1),
    "+": () => setView(state.zoom * ZOOM_STEP, state.x, state.y),
    "-": () => setView(state.zoom / ZOOM_STEP, state.x, state.y),
    0: () => setView(LEAST, HOME.x_mm, state.y), Escape: letGo,
  };
  stage.addEventListener("keydown", (event) => {
    const act = KEYS[event.key === "=" ? "+" : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { x: event.clientX, y: event.clientY, from: [state.x, state.y], moved: false, event };
    if (state.zoom > LEAST) stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    drag.moved ||= Math.hypot(dx, dy) > 5;
    if (drag.moved && state.zoom > LEAST) setView(state.zoom, drag.from[0] - dx / scale(), drag.from[1] - dy / scale());
  });
  stage.addEventListener("pointerup", () => {
    if (drag && !drag.moved) chooseAt(drag.event);
    drag = null;
  });
  stage.addEventListener("pointercancel", () => { drag = null; });

  slider.addEventListener("input", () => showSlice(Number(slider.value)));
  for (const id of ["brightness", "contrast"]) find(id).addEventListener("input", paintTones);
  find("zoom-in").addEventListener("click", KEYS["+"]);
  find("zoom-out").addEventListener("click", KEYS["-"]);
  find("zoom-reset").addEventListener("click", KEYS[0]);
  for (const box of all("input.layer")) {
    box.addEventListener("change", () => picture.classList.toggle(`no-${box.dataset.layer}`, !box.checked));
  }
  for (const box of all("input.draw")) box.addEventListener("change", draw);
  for (const row of all(".findings tr[data-subject]")) row.addEventListener("click", () => choose(row.dataset.subject));
  for (const button of all(".other-part button.subject")) {
    button.addEventListener("click", () => {
      choose(button.dataset.subject);
    });
  }
  addEventListener("resize", draw);
  for (const [event, on] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => { printing = on; draw(); });
  }

  // ---- languages of the patient's page

  function speak(language) {
    for (const page of all(".patient")) page.classList.toggle("chosen", page.dataset.language === language);
  }
  for (const button of all(".switch button, nav a[data-language]")) {
    button.addEventListener("click", () => speak(button.dataset.language));
  }
  const spoken = all(".patient").map((page) => page.dataset.language);
  speak(spoken.find((code) => navigator.language.startsWith(code)) || spoken[0]);

  document.documentElement.classList.add("scripted");
  setView(1, HOME.x_mm, data.height_mm / 2);
  showSlice(data.middle);
})();
