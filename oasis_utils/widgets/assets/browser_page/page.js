// Loads the files beside this page, then draws slices as the controls ask for them.

const NEEDED = ["WebAssembly", "DecompressionStream"];
const byId = (id) => document.getElementById(id);
let session = null;

// ------------------------------------------------------------ loading

// Script elements, because a browser refuses to fetch files beside a page that is opened as a file.
function loadScript(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = name;
    script.onload = resolve;
    script.onerror = () => reject(new Error(
      `The file ${name} is missing beside this page: copy the whole folder, or make it again.`));
    document.head.append(script);
  });
}

// What a data file holds: gzip in base64, which is released afterwards.
async function loadData(name) {
  await loadScript(`${name}.js`);
  const text = atob(window.oasisData[name]);
  delete window.oasisData[name];
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ONNX Runtime Web with one thread: more would need headers that only a server can send.
async function startRuntime() {
  await loadScript("ort.wasm-core.min.js");
  showProgress(1, "loading ONNX Runtime");
  const wasm = await loadData("runtime");
  const address = URL.createObjectURL(new Blob([wasm], { type: "application/wasm" }));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { "ort-wasm-simd.wasm": address };
}

async function startSession(model) {
  try {
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Error("This browser cannot run the models: try a current Chrome, Edge, Firefox or " +
      `Safari. What it says: ${error.message || error}`);
  }
}

function showProgress(step, text) {
  byId("progress").value = step;
  byId("status").textContent = `${text} …`;
}

function showError(error) {
  console.warn(error);
  byId("progress").hidden = true;
  byId("status").textContent = "";
  byId("error").textContent = error.message || String(error);
  byId("error").hidden = false;
}

// ------------------------------------------------------------ drawing

// One slice from given noise; an age of null is unknown.
async function drawSlice(noise, position, age) {
  const answer = await session.run({
    noise: new ort.Tensor("float32", noise, [1, PAGE.noiseSize]),
    position: new ort.Tensor("int64", BigInt64Array.of(BigInt(position)), [1]),
    age: new ort.Tensor("float32", Float32Array.of(age === null ? NaN : age), [1]),
  });
  return { image: answer.image.data, codes: answer.codes.data };
}

function settings() {
  const usesAge = PAGE.age && byId("use-age").checked;
  return {
    position: Number(byId("position").value),
    age: usesAge ? Number(byId("age").value) : null,
    seed: Number(byId("seed").value),
    count: Number(byId("count").value),
  };
}

function paint(canvas, side, pixels, colourOf) {
  canvas.width = canvas.height = side;
  const picture = new ImageData(side, side);
  pixels.forEach((value, i) => picture.data.set(colourOf(value), 4 * i));
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// As many figures as slices are asked for; those that stay keep their pictures until redrawn.
function figures(count) {
  const all = byId("slices");
  while (all.children.length > count) all.lastElementChild.remove();
  while (all.children.length < count) {
    all.append(byId("figure").content.firstElementChild.cloneNode(true));
  }
  return [...all.children];
}

function showSlice(figure, drawn, asked, i) {
  const [slice, map] = figure.querySelectorAll("canvas");
  paint(slice, PAGE.imageSize, drawn.image, (grey) => [grey, grey, grey, 255]);
  paint(map, PAGE.grid, drawn.codes, (code) => [...PAGE.colours[code], 255]);
  const age = asked.age === null ? "" : `, age ${asked.age}`;
  const text = `seed ${asked.seed}, image ${i + 1}`;
  figure.querySelector("figcaption").textContent = text;
  slice.setAttribute("aria-label", `Drawn slice: position ${asked.position}${age}, ${text}`);
  map.setAttribute("aria-label", `Its ${PAGE.grid} by ${PAGE.grid} index map`);
}

let latest = 0;
let queue = Promise.resolve();

// A newer setting replaces one whose slices are not finished.
function redraw() {
  showSettings();
  const turn = ++latest; // also where nothing new is drawn: the old settings are gone
  const seed = byId("seed");
  if (!seed.checkValidity()) {
    byId("status").textContent = `The seed is a whole number from 0 to ${seed.max}.`;
    return;
  }
  queue = queue.then(() => drawAll(turn)).catch(showError);
}

async function drawAll(turn) {
  const asked = settings();
  const start = performance.now();
  let i = 0;
  for (const figure of figures(asked.count)) {
    await new Promise((resume) => setTimeout(resume)); // lets the browser paint and answer
    if (turn !== latest) return;
    const noise = normalNoise(imageSeed(asked.seed, i), PAGE.noiseSize);
    showSlice(figure, await drawSlice(noise, asked.position, asked.age), asked, i++);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  byId("status").textContent = `${i} ${i === 1 ? "slice" : "slices"} in ${seconds} s`;
}

// ------------------------------------------------------------ controls

function showSettings() {
  const asked = settings();
  for (const name of ["position", "count", ...(PAGE.age ? ["age"] : [])]) {
    byId(`${name}-value`).textContent = byId(name).value;
  }
  if (PAGE.age) byId("age").disabled = asked.age === null;
  byId("slices").classList.toggle("without-maps", !byId("show-maps").checked);
  const age = asked.age === null ? "" : ` --age ${asked.age}`;
  byId("command").textContent =
    `python -m oasis_utils sample --run ${PAGE.run} --prior dcgan --position ${asked.position}` +
    `${age} --seed ${asked.seed} --n ${asked.count} --out new.npz`;
}

function connectControls() {
  for (const control of document.querySelectorAll("#controls input")) {
    control.addEventListener("input", control.id === "show-maps" ? showSettings : redraw);
  }
  byId("new-seed").addEventListener("click", () => {
    byId("seed").value = Math.floor(Math.random() * 10000);
    redraw();
  });
}

// A book that shows this page in a frame makes the frame as high as the page, and names its theme.
function fitFrame() {
  if (window.parent === window) return;
  const tell = () => window.parent.postMessage({ oasisPage: document.body.offsetHeight }, "*");
  new ResizeObserver(tell).observe(document.body);
  window.addEventListener("message", ({ source, data }) => {
    if (source !== window.parent || !["light", "dark"].includes(data?.oasisTheme)) return;
    document.documentElement.style.colorScheme = data.oasisTheme;
    document.documentElement.style.overflow = "hidden"; // the frame is as high: no bars
  });
}

async function start() {
  fitFrame();
  showSettings();
  const missing = NEEDED.filter((name) => !(name in window));
  if (missing.length) {
    throw new Error(`This browser lacks ${missing.join(" and ")}: use one from 2023 or later, or ` +
      "allow it for this page, if its settings switch it off.");
  }
  showProgress(0, "loading the page's library");
  await startRuntime();
  showProgress(2, "loading the models");
  const model = await loadData("model");
  showProgress(3, "starting the models");
  await startSession(model);
  byId("progress").hidden = true;
  byId("controls").disabled = false;
  connectControls();
  redraw();
}

start().catch(showError);
