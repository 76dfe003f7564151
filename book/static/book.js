// Pages opened as files may not fetch other pages, so the search shows titles only.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// The page that draws tells its height; the frame takes it, and the page takes the theme.
window.addEventListener("message", ({ source, data }) => {
  const frame = document.querySelector("iframe.draw");
  if (!frame || source !== frame.contentWindow || !(data?.oasisPage > 0)) return;
  frame.style.height = `${data.oasisPage + 8}px`;
  const tell = () => {
    const oasisTheme = document.documentElement.dataset.theme;
    frame.contentWindow.postMessage({ oasisTheme }, "*");
  };
  tell();
  if (frame.dataset.watched) return;
  frame.dataset.watched = "yes";
  new MutationObserver(tell).observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
