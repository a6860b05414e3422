// A list of candidates, as cards or, beside another list, as rows.

import { showPicture } from "./api.js";
import { cutText, el, shown } from "./dom.js";
import { titleOf } from "./names.js";

const EMOJI = /^(\p{RI}{2}|[\p{Emoji}\p{EMod}\u200d\ufe0f\u20e3\u{e0020}-\u{e007f}])+$/u;
const isGlyph = ([, value]) => typeof value === "string" && value.length < 40 && /[^\d#*]/.test(value) && EMOJI.test(value);
const sr = (text) => el("span.sr", text);

/** `link(hit)` is the address of what is similar, `other` the ranks in the list beside. */
export function cards(hits, link, other) {
	const scores = hits.map((hit) => hit.score), high = Math.max(...scores), low = Math.min(0, ...scores);
	const figures = 2 - Math.floor(Math.log10(Math.max(1e-5, high, -low))); // three of the greatest score
	return hits.map((hit, place) => {
		const bar = el("span.bar"), there = other?.get(String(hit.id));
		bar.style.setProperty("--part", high > low ? (hit.score - low) / (high - low) : 1);
		const score = hit.score.toFixed(Math.min(6, Math.max(1, figures)));
		return el(`li.hit${other ? (there ? ".both" : ".alone") : ""}`, content(hit, link(hit), other && comparison(place + 1, there)),
			el("p.place", sr("Rank "), el("b", String(place + 1)), bar, sr("score "), score));
	});
}

function content(hit, href, compared) {
	const title = titleOf(hit), id = String(hit.id);
	const values = Object.entries(hit.display ?? {}).filter(([, value]) => shown(value) !== "");
	const glyph = values.find(isGlyph), named = values.find(([, value]) => shown(value) === title);
	const others = values.filter((each) => each !== named && (each !== glyph || hit.picture));
	return [
		media(hit, glyph?.[1]),
		el("div.text", el("h3", cutText(title)), others.length > 0 && el("dl", others.map(detail)), compared),
		el("p.foot", el("code", { title: id }, sr("id "), id),
			el("a.similar", { href, "data-id": id, "aria-label": `Similar to ${title}` }, "Similar")),
	];
}

function media(hit, glyph) {
	const without = el("span.picture.glyph", { "aria-hidden": "true" }, glyph);
	if (!hit.picture) return glyph && without;
	const image = el("img.picture", { alt: "", loading: "lazy", onerror: () => image.replaceWith(without) });
	showPicture(image, hit.picture);
	return image;
}

function detail([column, value]) {
	const tags = Array.isArray(value) && value.length < 30 && value.map((each) => el("span.tag", shown(each)));
	const name = el("dt", { class: typeof value === "string" && "sr" }, column);
	return el("div", name, el("dd", tags || cutText(shown(value))));
}

function comparison(rank, there) {
	const step = there - rank;
	if (!there) return el("p.mark", "only here");
	return el("p.mark", `both · there #${there} · `, step ? `${step > 0 ? "▲" : "▼"} ${Math.abs(step)}` : "=",
		sr(step > 0 ? " higher here" : step ? " lower here" : " the same rank"));
}

/** How two lists agree, in a sentence. */
export function agreement(left, right) {
	const ids = new Set(right.map((hit) => String(hit.id)));
	const both = left.filter((hit) => ids.has(String(hit.id))).length;
	return `Both found ${both}; only the first found ${left.length - both}, only the second ${right.length - both}.`;
}
