// The search of the site runs in a worker. Browsers do not start workers for pages opened from disk, so here it runs in a
// hidden frame. Without a script of this name the site would load one from the network.
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
