// A picture divided into cells: click or arrow keys select one, click or Enter choose it.
function render({ model, el }) {
  const frame = document.createElement("div");
  frame.className = "picture-grid";
  frame.tabIndex = 0;
  frame.setAttribute("role", "application");
  frame.setAttribute("aria-roledescription", "grid of pictures");
  const image = document.createElement("img");
  const marker = document.createElement("div");
  marker.className = "marker";
  const title = document.createElement("div");
  title.className = "title";
  const spoken = document.createElement("div");
  spoken.setAttribute("aria-live", "polite");
  frame.append(image, marker);
  el.append(title, frame, spoken);

  let address = null;
  const drawPicture = () => {
    const old = address;
    address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    image.onload = () => old && URL.revokeObjectURL(old);
    image.src = address;
  };
  const drawMarker = () => {
    const [rows, cols] = [model.get("rows"), model.get("cols")];
    marker.style.left = `${(100 * model.get("col")) / cols}%`;
    marker.style.top = `${(100 * model.get("row")) / rows}%`;
    marker.style.width = `${100 / cols}%`;
    marker.style.height = `${100 / rows}%`;
  };
  const drawText = () => {
    title.textContent = model.get("label");
    image.alt = model.get("label");
    frame.style.width = `${model.get("width")}px`;
    frame.setAttribute("aria-label", `${model.get("label")}. Arrow keys select, Enter chooses.`);
    spoken.textContent = model.get("caption");
  };
  const select = (row, col, choose) => {
    model.set("row", Math.max(0, Math.min(model.get("rows") - 1, row)));
    model.set("col", Math.max(0, Math.min(model.get("cols") - 1, col)));
    if (choose) model.set("chosen", model.get("chosen") + 1);
    model.save_changes();
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  frame.addEventListener("keydown", (event) => {
    const [row, col] = [model.get("row"), model.get("col")];
    if (event.key in steps) select(row + steps[event.key][0], col + steps[event.key][1], false);
    else if (event.key === "Enter" || event.key === " ") select(row, col, true);
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has its own use for these keys
  });
  frame.addEventListener("click", (event) => {
    const box = frame.getBoundingClientRect();
    frame.focus();
    select(Math.floor(((event.clientY - box.top) / box.height) * model.get("rows")),
           Math.floor(((event.clientX - box.left) / box.width) * model.get("cols")), true);
  });
  model.on("change:picture", drawPicture);
  model.on("change:row change:col change:rows change:cols", drawMarker);
  model.on("change:label change:caption change:width", drawText);
  drawPicture(); drawMarker(); drawText();
  return () => URL.revokeObjectURL(address);
}
export default { render };
