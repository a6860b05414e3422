// Keys: "/" to the search box, arrows through the results, Esc back, "?" for help.

import { byId } from "./dom.js";

const OFF = "dssm-no-single-keys"; // of localStorage: who speaks to the computer turns "/" and "?" off

/** The next link in a direction, by where the cards are on the screen. */
function neighbour(links, from, key) {
	const box = (link) => link.closest(".hit").getBoundingClientRect(), middle = ({ left, right }) => (left + right) / 2;
	const sideways = /Left|Right/.test(key), sign = /Right|Down/.test(key) ? 1 : -1, here = box(from);
	let best = null, least = Infinity;
	for (const link of links) {
		const there = box(link), across = middle(there) - middle(here), down = there.top - here.top;
		const inRow = there.top < here.bottom && there.bottom > here.top;
		const fits = sideways ? inRow && sign * across > 1 : !inRow && sign * down > 1;
		const distance = sideways ? Math.abs(across) + Math.abs(down) / 1000 : Math.abs(down) + 3 * Math.abs(across);
		if (fits && distance < least) [best, least] = [link, distance];
	}
	return best ?? (sideways ? links[links.indexOf(from) + sign] : null);
}

export function listenToKeys({ focusSearch, back, results }) {
	const single = byId("single-keys"), help = () => byId("help").showModal();
	single.checked = !localStorage.getItem(OFF);
	single.addEventListener("change", () => localStorage.setItem(OFF, single.checked ? "" : "1"));
	byId("help-button").addEventListener("click", help);
	const move = (event, here) => {
		const links = [...results.querySelectorAll("a.similar")];
		let next = null;
		if (links.includes(here)) next = { Home: links[0], End: links.at(-1) }[event.key] ?? neighbour(links, here, event.key);
		else if (event.key === "ArrowDown" && here.type === "search") [next] = links;
		if (!next) return links.includes(here) && event.key === "ArrowUp" && focusSearch(event);
		event.preventDefault();
		next.focus({ preventScroll: true });
		next.closest(".hit").scrollIntoView({ block: "nearest" });
	};
	document.addEventListener("keydown", (event) => {
		const { key } = event, here = document.activeElement;
		const other = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing;
		if (other || document.querySelector("dialog[open]")) return;
		const isSearch = here.type === "search", inBox = isSearch || here.matches("[type=text], [type^=date], select");
		if (key === "Escape" && !(isSearch && here.value)) inBox && !isSearch ? here.blur() : back();
		else if (/^(Arrow|Home|End)/.test(key)) move(event, here);
		else if (!inBox && single.checked && key === "/") focusSearch(event);
		else if (!inBox && single.checked && key === "?") help();
	});
}
