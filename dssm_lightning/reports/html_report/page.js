"use strict";
// Shows the title of a point at once; browsers show it after a second. Texts are set as texts, never as HTML.
(() => {
  const tip = document.getElementById("tip");
  const titles = new WeakMap();
  const text = (mark) => {
    const title = mark.querySelector("title");
    if (title) { titles.set(mark, title.textContent); title.remove(); mark.setAttribute("aria-label", titles.get(mark)); }
    return titles.get(mark);
  };
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest(".dot");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = text(mark);
    const box = mark.getBoundingClientRect(), width = Math.min(tip.offsetWidth, innerWidth - 16);
    tip.style.left = `${Math.max(8, Math.min(box.left - width / 2, innerWidth - width - 8))}px`;
    tip.style.top = `${box.top > 60 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
  });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
