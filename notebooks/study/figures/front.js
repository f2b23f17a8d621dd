// The explorable scatter of study.figures.front: axes to choose, a method to click for its runs.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SHAPES = {
    o: (r) => `M${r} 0A${r} ${r} 0 1 1 ${-r} 0A${r} ${r} 0 1 1 ${r} 0Z`,
    s: (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`,
    D: (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`,
    v: (r) => `M0 ${1.2 * r}L${1.2 * r} ${-r}H${-1.2 * r}Z`,
    "^": (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`,
    P: (r) => `M${-r / 2} ${-r}h${r}v${r / 2}h${r / 2}v${r}h${-r / 2}v${r / 2}h${-r}v${-r / 2}`
      + `h${-r / 2}v${-r}h${r / 2}Z`,
  };

  const make = (parent, tag, attributes = {}, text = "") => {
    const node = tag === "svg" || parent.namespaceURI === SVG
      ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const name in attributes) node.setAttribute(name, attributes[name]);
    node.textContent = text;
    return parent.appendChild(node);
  };
  const short = (value) => {
    for (const [unit, size] of [[" M", 1e6], [" k", 1e3]]) {
      if (value >= size) return Number((value / size).toPrecision(3)) + unit;
    }
    return String(Number(value.toPrecision(3)));
  };
  const long = ([value, low, high]) => {
    const said = value >= 1000 ? value.toLocaleString("en") : short(value);
    return low === undefined ? said : `${said} (${short(low)} to ${short(high)})`;
  };

  // Pixels of a value between two ends, and the values that get a tick. Zero stands before a
  // logarithmic axis.
  function scale(measure, values, from, to) {
    let low = Math.min(...values), high = Math.max(...values);
    if (measure.log) {
      const zero = low <= 0, first = zero ? from + 0.1 * (to - from) : from;
      low = Math.min(...values.filter((value) => value > 0)) / 1.6;
      high *= 1.6;
      const each = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5], ticks = zero ? [0] : [];
      for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
        ticks.push(...each.map((times) => times * 10 ** power));
      }
      return {
        at: (v) => v > 0 ? first + (to - first) * Math.log(v / low) / Math.log(high / low)
          : from + 0.03 * (to - from),
        ticks: ticks.filter((v) => v === 0 || (v >= low && v <= high)),
      };
    }
    const room = 0.06 * (high - low) || 1;
    [low, high] = [low - room, high + room];
    const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
    const ticks = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(n * step);
    return { at: (v) => from + (to - from) * (v - low) / (high - low), ticks };
  }

  // The corners of what no other point beats: down, then across, from the worst in x to the best.
  function staircase(points, betterX, betterY) {
    const front = points
      .map((p) => ({ ...p, u: betterX * p.x, v: betterY * p.y }))
      .filter((p, _, all) => !all.some(
        (q) => q.u >= p.u && q.v >= p.v && (q.u > p.u || q.v > p.v)
      ))
      .sort((p, q) => p.u - q.u || q.v - p.v);
    return front.map((p, n) => n ? `V${p.py}H${p.px}` : `M${p.px} ${p.py}`).join("");
  }

  function start(root) {
    const spec = JSON.parse(root.querySelector("script").textContent);
    const measures = Object.fromEntries(spec.measures.map((of) => [of.key, of]));
    const chosen = { ...spec.axes, method: "" };
    root.replaceChildren();
    const controls = make(root, "div", { class: "front-controls" });
    const choice = (name, words, options) => {
      const select = make(make(controls, "label", {}, words), "select", { name });
      for (const [value, text] of options) make(select, "option", { value }, text);
      return select;
    };
    const axes = spec.measures.map((of) => [of.key, of.name]);
    const selects = { y: choice("y", "Upwards ", axes), x: choice("x", "To the right ", axes) };
    const names = spec.methods.map((of) => of.name).sort((a, b) => a.localeCompare(b));
    selects.method = choice("method", "Method ", [["", "choose, or click it"], ...names.map((n) => [n, n])]);
    const heads = make(make(controls, "label", { class: "front-check" }), "input", {
      type: "checkbox", name: "heads",
    });
    heads.parentNode.append(" with trained heads, too");
    const plot = make(root, "div", { class: "front-plot" });
    const svg = make(plot, "svg", { role: "group" });
    const tip = make(plot, "div", { class: "front-tip", hidden: "" });
    const legend = make(root, "p", { class: "front-legend" });
    const bounds = make(root, "p", { class: "front-note" });
    const missing = make(root, "p", { class: "front-note" });
    const panel = make(root, "div", { class: "front-panel", "aria-live": "polite" });
    let points = [];

    const describe = (point) => ["y", "x"].map(
      (axis) => `${measures[chosen[axis]].name}: ${long(point.of.at[chosen[axis]])}`
    );
    function hint(point) {
      tip.hidden = !point;
      if (!point) return;
      tip.replaceChildren();
      make(tip, "b", {}, point.of.name);
      for (const line of describe(point)) make(tip, "div", {}, line);
      const left = Math.min(Math.max(point.px - tip.offsetWidth / 2, 0), plot.clientWidth - tip.offsetWidth);
      const above = point.py - tip.offsetHeight - 14;
      tip.style.left = `${left}px`;
      tip.style.top = `${above > 0 ? above : point.py + 16}px`;
    }
    function open(name) {
      chosen.method = name;
      const of = spec.methods.find((method) => method.name === name);
      if (of?.heads) heads.checked = true;
      selects.method.value = name;
      panel.replaceChildren();
      if (of) {
        make(panel, "b", {}, name);
        const list = make(panel, "ul");
        for (const { key, name: measure } of spec.measures) {
          if (of.at[key]) make(list, "li", {}, `${measure}: ${long(of.at[key])}`);
        }
        for (const [what, ids] of of.runs) {
          const line = make(panel, "p", {}, `Runs, ${what}: `);
          for (const id of ids) {
            make(line, "a", { class: "run", href: `#run-${id}` }, id);
            line.append(" ");
          }
        }
      }
      draw();
    }
    function nearest(event) {
      const box = svg.getBoundingClientRect();
      const away = (p) => Math.hypot(p.px - event.clientX + box.left, p.py - event.clientY + box.top);
      const found = points.reduce((a, b) => (a && away(a) <= away(b) ? a : b), null);
      return found && away(found) < 26 ? found : null;
    }
    function move(event, node) {
      const order = [...points].sort((a, b) => a.px - b.px || b.py - a.py);
      const at = order.findIndex((point) => point.node === node);
      if (event.key === "Enter" || event.key === " ") open(order[at].of.name);
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (step || event.key === "Enter" || event.key === " ") event.preventDefault();
      const next = step ? order[at + step] : points.find((p) => p.of.name === chosen.method);
      if (next && (step || event.key === "Enter" || event.key === " ")) next.node.focus();
    }

    function draw() {
      const width = plot.clientWidth, height = Math.min(Math.max(0.7 * width, 300), 440);
      if (!width) return;
      const box = { left: 40, right: width - 12, top: 28, bottom: height - 42 };
      svg.replaceChildren();
      svg.setAttribute("width", width);
      svg.setAttribute("height", height);
      const [mx, my] = [measures[chosen.x], measures[chosen.y]];
      svg.setAttribute("aria-label", `${my.name} against ${mx.name}; arrow keys go from method to method`);
      const both = spec.methods.filter((of) => of.at[mx.key] && of.at[my.key]);
      const seen = both.filter((of) => heads.checked || !of.heads);
      const left = spec.methods.filter((of) => heads.checked || !of.heads).length - seen.length;
      missing.textContent = left ? `${left} methods are not shown: one of the two was not measured.` : "";
      const ends = (measure) => spec.ends[measure.key] ?? [];
      const every = (key) => seen.flatMap((of) => of.at[key]).concat(ends(measures[key]).slice(0, 1).map((of) => of[1]));
      const x = scale(mx, every(mx.key), box.left, box.right);
      const y = scale(my, every(my.key), box.bottom, box.top);
      for (const value of x.ticks) {
        make(svg, "path", { class: "grid", d: `M${x.at(value)} ${box.top}V${box.bottom}` });
        make(svg, "text", { x: x.at(value), y: box.bottom + 16, "text-anchor": "middle" }, short(value));
      }
      for (const value of y.ticks) {
        make(svg, "path", { class: "grid", d: `M${box.left} ${y.at(value)}H${box.right}` });
        make(svg, "text", { x: box.left - 5, y: y.at(value) + 4, "text-anchor": "end" }, short(value));
      }
      make(svg, "text", { class: "axis", x: box.right, y: height - 6, "text-anchor": "end" }, `${mx.name} →`);
      make(svg, "text", { class: "axis", x: 0, y: 14 }, `↑ ${my.name}`);
      for (const [, value] of ends(mx)) {
        if (x.at(value) <= box.right) make(svg, "path", { class: "end", d: `M${x.at(value)} ${box.top}V${box.bottom}` });
      }
      for (const [, value] of ends(my)) {
        if (y.at(value) >= box.top) make(svg, "path", { class: "end", d: `M${box.left} ${y.at(value)}H${box.right}` });
      }
      bounds.textContent = [my, mx].filter((of) => ends(of).length).map(
        (of) => `${of.name}: ${ends(of).map(([what, value]) => `${what} ${short(value)}`).join(", ")}.`
      ).join(" ") + (ends(my).length + ends(mx).length ? " Dashed lines: those that fit." : "");
      points = seen.map((of) => {
        const [vx, vy] = [of.at[mx.key][0], of.at[my.key][0]];
        return { of, x: vx, y: vy, px: x.at(vx), py: y.at(vy), look: spec.looks[of.look] };
      });
      make(svg, "path", { class: "front-line", d: staircase(points, mx.better, my.better) });
      for (const { of, px, py, look } of points) {
        const [, lx, hx] = of.at[mx.key], [, ly, hy] = of.at[my.key];
        let d = ly === undefined ? "" : `M${px} ${y.at(ly)}V${y.at(hy)}`;
        if (lx !== undefined) d += `M${x.at(lx)} ${py}H${x.at(hx)}`;
        make(svg, "path", { class: "interval", d, stroke: look.color });
      }
      for (const point of points) {
        const { of, px, py, look } = point, open_ = of.name === chosen.method;
        point.node = make(svg, "g", {
          transform: `translate(${px} ${py})`, role: "button", tabindex: -1,
          "aria-pressed": open_, "aria-label": [of.name, ...describe(point)].join(", "),
        });
        const fill = of.heads ? "var(--pst-color-background, #fff)" : look.color;
        make(point.node, "path", { d: SHAPES[look.mark](open_ ? 8 : 5.5), fill, stroke: look.color });
        point.node.addEventListener("focus", () => hint(point));
        point.node.addEventListener("blur", () => hint(null));
        point.node.addEventListener("keydown", (event) => move(event, point.node));
      }
      const entered = points.find((p) => p.of.name === chosen.method)
        ?? points.reduce((a, b) => (a && a.px <= b.px ? a : b), null);
      entered?.node.setAttribute("tabindex", 0);
      name(box);
    }
    // The names of a few, where they cover no mark of those few and no other name.
    function name(box) {
      const shown = points.filter((p) => p.of.label || p.of.name === chosen.method);
      shown.sort((a, b) => (b.of.name === chosen.method) - (a.of.name === chosen.method));
      const taken = shown.map((p) => [p.px - 6, p.py - 6, p.px + 6, p.py + 6]);
      for (const { of, px, py } of shown) {
        const text = make(svg, "text", { class: "name" }, of.name);
        const wide = text.getComputedTextLength();
        const free = [[10, 4], [-wide - 10, 4], [-wide / 2, -12], [-wide / 2, 20], [8, -10], [8, 18]].find(
          ([dx, dy]) => {
            const own = [px + dx, py + dy - 11, px + dx + wide, py + dy + 2];
            const inside = own[0] > box.left && own[2] < box.right + 10 && own[3] < box.bottom && own[1] > box.top;
            const apart = taken.every((o) => o[2] < own[0] || o[0] > own[2] || o[3] < own[1] || o[1] > own[3]);
            if (inside && apart) taken.push(own);
            return inside && apart;
          }
        );
        if (!free) { text.remove(); continue; }
        text.setAttribute("x", px + free[0]);
        text.setAttribute("y", py + free[1]);
      }
    }

    for (const axis of ["x", "y"]) {
      selects[axis].value = chosen[axis];
      selects[axis].addEventListener("change", () => {
        const other = axis === "x" ? "y" : "x", was = chosen[axis];
        chosen[axis] = selects[axis].value;
        if (chosen[other] === chosen[axis]) selects[other].value = chosen[other] = was;
        draw();
      });
    }
    selects.method.addEventListener("change", () => open(selects.method.value));
    heads.addEventListener("change", draw);
    svg.addEventListener("pointermove", (event) => hint(nearest(event)));
    svg.addEventListener("pointerleave", () => hint(null));
    svg.addEventListener("click", (event) => {
      const point = nearest(event);
      if (point) open(point.of.name);
    });
    for (const look of spec.looks) {
      const entry = make(legend, "span");
      const mark = make(entry, "svg", { width: 14, height: 14, viewBox: "-8 -8 16 16" });
      make(mark, "path", { d: SHAPES[look.mark](5.5), fill: look.color });
      entry.append(` ${look.name}`);
    }
    let width = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth !== width) draw(width = plot.clientWidth);
    }).observe(plot);
  }

  for (const root of document.querySelectorAll(".front:not([data-drawn])")) {
    root.dataset.drawn = "";
    start(root);
  }
})();
