// Small helpers. Texts become text nodes: nothing that a server sends is ever parsed as HTML.

const given = (value) => value !== null && value !== undefined && value !== false;

/** Make an element: `el("p.hint", {lang: "en"}, "text")`. `on…` listen; null, undefined and false are left out. */
export function el(tag, props, ...children) {
	const [name, ...classes] = tag.split(".");
	const node = document.createElement(name);
	node.dir = "auto"; // each text has its own direction
	if (classes.length) node.className = classes.join(" ");
	if (props?.constructor !== Object) [props, children] = [{}, [props, ...children]];
	for (const [key, value] of Object.entries(props)) {
		if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
		else if (key === "value") node.value = value;
		else if (given(value)) node.setAttribute(key, value === true ? "" : value);
	}
	node.append(...children.flat(3).filter(given));
	return node;
}

/** A box for a text of any script. */
export const textBox = (props) => el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });
export const button = (text, onclick, props) => el("button", { type: "button", onclick, ...props }, text);
export const byId = (id) => document.getElementById(id);
export const number = (value) => value.toLocaleString("en");
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

/** Run once nobody has called for some milliseconds. */
export function debounce(run, wait) {
	let timer;
	const later = () => {
		later.cancel();
		timer = setTimeout(run, wait);
	};
	later.cancel = () => clearTimeout(timer);
	return later;
}

/** How a value of a candidate reads. */
export function shown(value) {
	if (Array.isArray(value)) return value.map(shown).join(", ");
	if (typeof value === "boolean") return value ? "yes" : "no";
	return typeof value === "object" ? (value ? JSON.stringify(value) : "") : String(value ?? "");
}

/** The first 150 characters of a text, and a button for the rest. */
export function cutText(text) {
	const letters = Array.from(text);
	if (letters.length <= 170) return text;
	const start = `${letters.slice(0, 150).join("")}…`, part = el("span", start);
	const more = button("Show all", () => {
		const open = part.textContent === start;
		part.textContent = open ? text : start;
		more.textContent = open ? "Show less" : "Show all";
		more.setAttribute("aria-expanded", open);
	}, { class: "more", "aria-expanded": "false" });
	return [part, " ", more];
}
