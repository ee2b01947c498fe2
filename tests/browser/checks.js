// What every page must hold, as functions that return a list of what is wrong with it.
(() => {
  const checks = {};
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

  const name = (element) => {
    const own = element.id ? "#" + element.id : element.getAttribute("class") ? "." + element.getAttribute("class") : "";
    return element.tagName.toLowerCase() + own;
  };

  // Any CSS color as red, green, blue (0 to 255) and opacity (0 to 1).
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = "#000";
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };

  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);

  const background = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      if (color[3] > 0) layers.unshift(color);
      if (color[3] === 1) break;
    }
    return layers.reduce((below, top) => over(top, below), rgba("Canvas"));
  };

  const luminance = (color) => {
    const [red, green, blue] = color.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };

  const ratio = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };

  const hidden = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.display === "none" || style.visibility !== "visible" || style.clipPath === "inset(50%)") return true;
      if (one.tagName === "DETAILS" && !one.open && !element.closest("summary")) return true;
    }
    return false;
  };

  // Every text that is seen, with its element and boxes.
  const texts = () => {
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const element = node.parentElement;
      if (!node.data.trim() || element.closest("script, style, title, desc") || hidden(element)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const boxes = [...range.getClientRects()].filter((box) => box.width > 0 && box.height > 0);
      if (boxes.length) found.push({ element, boxes, text: node.data.trim().slice(0, 60) });
    }
    return found;
  };

  // The page itself does not scroll sideways; tables and charts may, inside. (A phone zooms out of a page that is too wide.)
  checks.overflow = (width) => {
    if (document.scrollingElement.scrollWidth <= width && innerWidth <= width) return [];
    const wide = [...document.body.querySelectorAll("*")]
      .filter((one) => one.getBoundingClientRect().right > width + 0.5 && !(one.parentElement.closest(".scroll") && getComputedStyle(one).position !== "absolute"))
      .map((one) => `${name(one)} reaches to ${one.getBoundingClientRect().right.toFixed(0)} of ${width} px`);
    return [`the page is ${document.scrollingElement.scrollWidth} px wide`, ...wide];
  };

  // Every section has a box and says something, and nothing is empty for long.
  checks.blank = () => {
    const wrong = [...document.querySelectorAll("section, figure, table, svg")]
      .filter((one) => !hidden(one))
      .filter((one) => {
        const box = one.getBoundingClientRect();
        const content = one.tagName === "svg" ? one.querySelector("circle, line, path, text, rect, polyline") : one.innerText.trim();
        return !content || box.width < 8 || box.height < 8;
      })
      .map((one) => `${name(one)} is empty`);
    const spans = texts().flatMap((one) => one.boxes.map((box) => [box.top, box.bottom]));
    document.querySelectorAll("svg, img, .bar, .range").forEach((one) => {
      const box = one.getBoundingClientRect();
      if (box.height > 0) spans.push([box.top, box.bottom]);
    });
    spans.sort((one, other) => one[0] - other[0]);
    let end = spans.length ? spans[0][1] : 0;
    for (const [top, bottom] of spans) {
      if (top - end > 140) wrong.push(`nothing between ${end.toFixed(0)} and ${top.toFixed(0)} px`);
      end = Math.max(end, bottom);
    }
    return wrong;
  };

  // No text of a drawing leaves it, and no two texts lie over each other.
  checks.texts = () => {
    const wrong = [];
    const all = texts().flatMap(({ element, boxes, text }) => boxes.map((box) => ({ element, box, text })));
    for (const { element, box, text } of all) {
      const drawing = element.ownerSVGElement;
      const frame = drawing && drawing.getBoundingClientRect();
      if (frame && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2)) {
        wrong.push(`"${text}" leaves its drawing`);
      }
    }
    all.sort((one, other) => one.box.top - other.box.top);
    for (let i = 0; i < all.length; i++) {
      for (let j = i + 1; j < all.length && all[j].box.top < all[i].box.bottom; j++) {
        const [a, b] = [all[i], all[j]];
        const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
        const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
        const scrolled = a.element.closest(".scroll") !== b.element.closest(".scroll") || a.element.closest("th, td") !== b.element.closest("th, td");
        const pinned = scrolled && [a, b].some(({ element }) => element.closest("th") && getComputedStyle(element.closest("th")).position === "sticky");
        if (across > 2 && down > 4 && a.element !== b.element && !pinned) wrong.push(`"${a.text}" lies over "${b.text}"`);
      }
    }
    document.querySelectorAll("body *").forEach((one) => {
      const style = getComputedStyle(one);
      const cut = style.overflowX === "hidden" && style.clipPath === "none" && one.scrollWidth > one.clientWidth + 1;
      if (cut && one.innerText && one.innerText.trim()) wrong.push(`${name(one)} cuts off its text`);
    });
    return wrong;
  };

  // Contrast of every text with what lies below it: 4.5, or 3 where it is large.
  checks.contrast = () => {
    const wrong = new Set();
    for (const { element, text } of texts()) {
      const style = getComputedStyle(element);
      const below = background(element);
      const color = rgba(element.ownerSVGElement ? style.fill : style.color);
      let opacity = 1;
      for (let one = element; one; one = one.parentElement) opacity *= Number(getComputedStyle(one).opacity);
      const seen = over([color[0], color[1], color[2], color[3] * opacity], below);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const found = ratio(seen, below);
      if (found < (large ? 3 : 4.5)) wrong.add(`${name(element)} "${text}": ${found.toFixed(2)}`);
    }
    return [...wrong];
  };

  // Headings in order, tables with captions and scopes, drawings with titles, everything with a name.
  checks.structure = () => {
    const wrong = [];
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]));
    levels.forEach((level, i) => {
      if (level > (i ? levels[i - 1] : 0) + 1) wrong.push(`heading ${i + 1} is of level ${level} after ${levels[i - 1] ?? 0}`);
    });
    if (levels.filter((level) => level === 1).length !== 1) wrong.push("there is not just one h1");
    if (!document.documentElement.lang) wrong.push("the page has no language");
    document.querySelectorAll("table").forEach((one) => {
      if (!one.caption?.textContent.trim() && !one.getAttribute("aria-label") && !one.getAttribute("aria-labelledby")) {
        wrong.push(`${name(one)} has no caption`);
      }
      one.querySelectorAll("th").forEach((head) => {
        if (head.textContent.trim() && !head.getAttribute("scope")) wrong.push(`th "${head.textContent.trim()}" has no scope`);
      });
    });
    document.querySelectorAll("svg:not(svg svg)").forEach((one) => {
      const named = one.querySelector(":scope > title")?.textContent.trim() || one.getAttribute("aria-label");
      if (one.getAttribute("aria-hidden") !== "true" && (one.getAttribute("role") !== "img" || !named)) wrong.push(`${name(one)} has no title`);
    });
    document.querySelectorAll("img").forEach((one) => one.alt || wrong.push(`img ${one.src.slice(0, 40)} has no alt`));
    document.querySelectorAll("button, a").forEach((one) => one.textContent.trim() || wrong.push(`${name(one)} has no name`));
    document.querySelectorAll("[aria-labelledby], [aria-describedby]").forEach((one) => {
      for (const key of ["aria-labelledby", "aria-describedby"]) {
        for (const id of (one.getAttribute(key) ?? "").split(" ").filter(Boolean)) {
          if (!document.getElementById(id)) wrong.push(`${name(one)} names #${id}, which is not there`);
        }
      }
    });
    document.querySelectorAll('a[href^="#"]').forEach((one) => {
      if (!document.getElementById(decodeURIComponent(one.getAttribute("href").slice(1)))) wrong.push(`nothing is at ${one.getAttribute("href")}`);
    });
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    new Set(ids.filter((id, i) => ids.indexOf(id) !== i)).forEach((id) => wrong.push(`the id ${id} is given twice`));
    document.querySelectorAll(".scroll").forEach((one) => {
      if (one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0) wrong.push(`${name(one)} scrolls, but not by keyboard`);
    });
    return wrong;
  };

  window.pageChecks = checks;
})();
