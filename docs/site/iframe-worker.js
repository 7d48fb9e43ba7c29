// Browsers let no page that was opened from disk start a worker, and the site's search is one: here it runs in a hidden
// frame instead. The site's tool would fetch such a script from elsewhere if there were none of this name.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.body.appendChild(document.createElement("iframe"));
      this.frame.hidden = true;
      const inner = this.frame.contentWindow;
      inner.postMessage = (data) => setTimeout(() => this.onmessage?.({ data: structuredClone(data) }));
      const script = inner.document.createElement("script");
      script.src = url;
      this.loaded = new Promise((done) => (script.onload = done));
      inner.document.head.append(script);
    }

    postMessage(data) {
      const copy = structuredClone(data);
      this.loaded.then(() => setTimeout(() => this.frame.contentWindow?.onmessage({ data: copy })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
