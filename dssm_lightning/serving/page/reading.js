// What the query became: which of its parts the model knows, and what it did not read.

import { el, number } from "./dom.js";

const MOST = 120; // parts that show
const isUnknown = ({ known }) => known === false;

export function showReading(details, readings = [], truncated = []) {
	const parts = readings.flatMap(({ values }) => values), unknown = parts.filter(isUnknown);
	const cuts = truncated.map(({ column, kept, total, unit }) => `Only ${number(kept)} of ${number(total)} ${unit} of “${column}” were read.`);
	const texts = [...new Set(unknown.map(({ text }) => `“${text}”`))], more = texts.length - 3;
	const headline = texts.length ? `The model does not know ${texts.slice(0, 3).join(", ")}${more > 0 ? ` and ${more} more` : ""}.` : "What the query became.";
	details.hidden = !readings.length && !cuts.length;
	details.classList.toggle("warns", unknown.length + cuts.length > 0);
	details.replaceChildren(el("summary", [headline, ...cuts].join(" ")),
		el("p.hint", [["known", true], ["unknown", false], ["hashed: it cannot tell"]].map(([text, known]) => part({ text, known }))),
		...readings.map(feature));
}

function feature({ feature, column, kind, unit, values, kept, total, missing }) {
	const unknown = values.filter(isUnknown).length, rest = values.length - MOST;
	const size = missing ? "no value" : `${total > kept ? `${number(kept)} of ` : ""}${number(total)} ${total === 1 ? unit.replace(/ies$/, "y").replace(/s$/, "") : unit}`;
	const facts = ` ${kind}${feature === column ? "" : ` of ${column}`} · ${size}${unknown ? `, ${unknown} unknown` : ""}`;
	return el("section", el("h3", feature, el("small", facts)),
		el("p.parts", values.slice(0, MOST).map(part), rest > 0 && `and ${rest} more`));
}

function part({ text, known }) {
	const name = known ? "span.part.known" : known === false ? "s.part.unknown" : "span.part";
	return [el(name, text || "(empty)", known === false && el("span.sr", " unknown")), " "];
}
