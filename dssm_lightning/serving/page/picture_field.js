// A field for a picture, which goes to the server as base64, and into no address.

import { button, el } from "./dom.js";

/** The chosen pictures, by the name that the address holds. */
export const pictures = new Map();

async function base64Of(blob) {
	const letters = Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte));
	return btoa(letters.join(""));
}

/** The picture, scaled down if the server would refuse so many bytes, and what was done. */
async function fitted(file, most) {
	if (file.size * 1.34 + 4096 < most) return [file, ""];
	const bitmap = await createImageBitmap(file, { resizeWidth: 640 });
	const canvas = el("canvas", { width: bitmap.width, height: bitmap.height });
	canvas.getContext("2d").drawImage(bitmap, 0, 0);
	const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
	return [blob, `, scaled to ${bitmap.width} × ${bitmap.height}: the server takes ${most >> 10} KiB`];
}

export function pictureField(facts, { id, limits }, heard) {
	let now = null;
	const take = async () => {
		const [file] = input.files;
		if (!file) return;
		try {
			const [blob, done] = await fitted(file, limits.max_body);
			const name = `${pictures.size + 1} ${file.name}`;
			pictures.set(name, { text: file.name + done, url: URL.createObjectURL(file), base64: await base64Of(blob) });
			write(name);
			heard(name);
		} catch (error) {
			note.textContent = `${file.name} cannot be used: ${error.message}`;
		}
	};
	const remove = () => {
		write(undefined);
		input.focus();
		heard(undefined);
	};
	const input = el("input", { id, type: "file", accept: "image/*", onchange: take });
	const preview = el("img.preview", { alt: "" }), clear = button("Remove picture", remove), note = el("p.hint", { role: "status" });
	const write = (name) => {
		if (name === now) return;
		const found = pictures.get((now = name));
		if (!found) input.value = "";
		preview.hidden = !found;
		preview.src = found?.url ?? "data:,";
		clear.hidden = name === undefined;
		note.textContent = found?.text ?? (name ? `The picture ${name} of this link is not on this device: choose it.` : "");
	};
	write(undefined);
	return { element: [el("div.adder", preview, input, clear), note], write, focus: () => input.focus() };
}
