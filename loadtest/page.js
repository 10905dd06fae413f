"use strict";
// Unpacks plotly.js and draws the charts, in the colours that page.css has for a light or a dark page, or for paper.
(async () => {
  const places = [...document.querySelectorAll(".chart")];
  const root = document.documentElement;
  const { template, charts } = JSON.parse(document.getElementById("charts").textContent);

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (it) => it.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function painted(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((it) => painted(it, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, painted(it, style)]));
  }

  const coarse = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page and does not zoom a chart
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };

  function draw() {
    const style = getComputedStyle(root);
    for (const place of places) {
      const { traces, layout } = charts[place.parentElement.id];
      const shown = painted({ ...layout, template, dragmode: coarse ? false : "zoom" }, style);
      shown.font = { family: getComputedStyle(document.body).fontFamily };
      if (root.classList.contains("paper")) shown.width = 840;
      Plotly.react(place, painted(traces, style), shown, config);
    }
  }

  try {
    await unpack(document.getElementById("library").textContent);
    draw();
  } catch (error) {
    console.error(error);
    for (const place of places) {
      place.classList.add("broken");
      place.textContent = "This browser can't draw the charts: it must be one of 2023 or newer.";
    }
    return;
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.classList.add("paper"); draw(); });
  addEventListener("afterprint", () => { root.classList.remove("paper"); draw(); });
})();
