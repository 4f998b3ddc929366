"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  const colour = (style, name) => style.getPropertyValue(`--${name}`).trim();

  // Colours are named in the figures and valued in the style sheet, which knows light, dark and print.
  function painted(value, style) {
    if (typeof value === "string") {
      return value.startsWith("palette:") ? colour(style, value.slice(8)) : value;
    }
    if (Array.isArray(value)) return value.map((item) => painted(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, style)]));
  }

  function layoutOf(layout, style) {
    const font = { family: colour(style, "sans"), size: 13, color: colour(style, "ink") };
    const axis = {
      gridcolor: colour(style, "rule"), linecolor: colour(style, "muted"), showline: true, zeroline: false,
      ticks: "outside", ticklen: 4, tickcolor: colour(style, "muted"),
      tickfont: { size: 12, color: colour(style, "muted") },
    };
    const made = {
      font, autosize: true, showlegend: false, dragmode: "zoom",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 16, r: 14, t: 12, b: 12 },
      hoverlabel: { bgcolor: colour(style, "paper"), bordercolor: colour(style, "muted"), font },
      ...painted(layout, style),
    };
    for (const name of ["xaxis", "yaxis"]) {
      const own = made[name] ?? {};
      const title = { standoff: 10, ...own.title, font: { size: 12, color: colour(style, "muted") } };
      made[name] = { ...axis, ...own, title };
    }
    return made;
  }

  function draw() {
    const style = getComputedStyle(root);
    return Promise.all(Object.entries(figures).map(([id, figure]) =>
      Plotly.react(id, painted(figure.data, style), layoutOf(figure.layout, style), config)));
  }

  dark.addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("on-paper"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("on-paper"); draw(); });
  draw().then(() => root.classList.add("drawn"));
})();
