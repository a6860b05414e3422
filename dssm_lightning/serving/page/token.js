// The window that asks for the token.

import { hasToken, setToken } from "./api.js";
import { byId } from "./dom.js";

const waiting = [];

/** Ask for the token, then run what waits for it. */
export function askToken(again) {
	const dialog = byId("token"), box = byId("token-value");
	waiting.push(again);
	if (dialog.open) return;
	byId("token-note").textContent = hasToken() ? "The server refuses this token. Is a letter missing?" : "";
	box.value = "";
	byId("token-form").onsubmit = (event) => {
		event.preventDefault();
		setToken(box.value.trim());
		dialog.close();
		for (const each of waiting.splice(0)) each();
	};
	dialog.showModal();
}
