// Values under the pointer. Everything else on the page works without this.
"use strict";
for (const figure of document.querySelectorAll("[data-hover]")) {
  const chart = JSON.parse(figure.dataset.hover);
  const svg = figure.querySelector("svg");
  const rule = document.createElementNS("http://www.w3.org/2000/svg", "line");
  rule.setAttribute("class", "rule");
  rule.setAttribute("y1", chart.top);
  rule.setAttribute("y2", chart.bottom);
  const tip = document.createElement("div");
  tip.className = "tip";

  const nearest = (at, x) => {
    let best = 0;
    for (let i = 1; i < at.length; i++) if (Math.abs(at[i] - x) < Math.abs(at[best] - x)) best = i;
    return best;
  };
  const hide = () => { rule.remove(); tip.remove(); };
  const text = (value) => String(Math.abs(value) >= 1e6 ? value.toExponential(3) : value).replace("-", "\u2212");

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / chart.width;
    const x = (event.clientX - box.left) / scale;
    const lines = chart.lines.filter((line) => line.at.length > 0);
    if (lines.length === 0 || x < chart.left - 4 || x > chart.right + 4) return hide();
    const places = lines.map((line) => nearest(line.at, x));
    const at = lines[0].at[places[0]];
    rule.setAttribute("x1", at);
    rule.setAttribute("x2", at);
    svg.append(rule);
    tip.replaceChildren(`${chart.x} ${text(lines[0].x[places[0]])}`);
    lines.forEach((line, i) => {
      const row = document.createElement("div");
      const name = document.createElement("b");
      name.className = `c${line.color}`;
      name.textContent = line.name;
      row.append(name, ` ${text(line.y[places[i]])}`);
      tip.append(row);
    });
    figure.append(tip);
    const left = at * scale;
    const isRight = left > box.width / 2;
    tip.style.top = `${box.top - figure.getBoundingClientRect().top + 10}px`;
    tip.style.left = isRight ? "auto" : `${left + 10}px`;
    tip.style.right = isRight ? `${box.width - left + 10}px` : "auto";
  });
  svg.addEventListener("pointerleave", hide);
}
