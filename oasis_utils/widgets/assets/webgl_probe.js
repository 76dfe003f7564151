// Tells the kernel whether this browser draws with WebGL 2, which NiiVue needs; shows nothing.
function initialize({ model }) {
  const context = document.createElement("canvas").getContext("webgl2");
  context?.getExtension("WEBGL_lose_context")?.loseContext(); // browsers allow only a few
  model.set("answer", context ? "yes" : "no");
  model.save_changes();
}

export default { initialize, render() {} };
