"""A headless Chromium, driven over its DevTools protocol with nothing but Python's own library."""
import base64, json, os, secrets, shutil, socket, struct, subprocess, tempfile, time, urllib.request


class WebSocket:
    """A client as RFC 6455 has it, for text over the loopback interface."""

    def __init__(self, url):
        host, path = url.removeprefix("ws://").split("/", 1)
        name, port = host.rsplit(":", 1)
        self.socket = socket.create_connection((name, int(port)), timeout=60)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise OSError(f"no web socket: {head[:100]}")

    def send(self, text):
        data = text.encode()
        head = bytes([0x81])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(data))
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", len(data))
        mask = secrets.token_bytes(4)
        self.socket.sendall(head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(data)))

    def exactly(self, count):
        parts = b""
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise OSError("the browser has closed the connection")
            parts += part
        return parts

    def receive(self):
        text = b""
        while True:
            first, second = self.exactly(2)
            length = second & 0x7F
            if length == 126:
                length = struct.unpack(">H", self.exactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.exactly(8))[0]
            data = self.exactly(length)
            if first & 0x0F in (0, 1):
                text += data
            if first & 0x80 and first & 0x0F in (0, 1):
                return text.decode()


class Browser:
    """One page. What it asks of the network, what its console says and what goes wrong in it is kept."""

    def __init__(self, width=1280, height=900, dark=False):
        self.place = tempfile.mkdtemp(prefix="holdfast-browser-")
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
             "--ignore-certificate-errors", "--hide-scrollbars", "--force-color-profile=srgb",
             f"--user-data-dir={self.place}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = f"{self.place}/DevToolsActivePort"
        end = time.monotonic() + 60
        while not os.path.exists(port_file) or not open(port_file).read().strip():
            if time.monotonic() > end or self.process.poll() is not None:
                raise OSError("Chromium does not start")
            time.sleep(0.05)
        port = open(port_file).read().split()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30))
        page = next(page for page in pages if page["type"] == "page")
        self.socket = WebSocket(page["webSocketDebuggerUrl"])
        self.number = 0
        self.requests, self.messages, self.loads = [], [], 0
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.size(width, height)
        self.dark(dark)

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    def take(self, message):
        method, values = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.messages.append(values["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.messages.append(" ".join(str(each.get("value", "")) for each in values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.messages.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif method == "Page.loadEventFired":
            self.loads += 1

    def call(self, method, **values):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": values}))
        while True:
            message = json.loads(self.socket.receive())
            if message.get("id") == self.number:
                if "error" in message:
                    raise OSError(f"{method}: {message['error']['message']}")
                return message["result"]
            self.take(message)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def dark(self, is_dark):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}])

    def wait_load(self, before):
        end = time.monotonic() + 30
        while self.loads == before:
            if time.monotonic() > end:
                raise OSError("the page does not load")
            self.call("Runtime.evaluate", expression="1")
        # What the page itself starts after it was loaded.
        self.call("Runtime.evaluate", expression="new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))",
                  awaitPromise=True)

    def go(self, url):
        before = self.loads
        self.call("Page.navigate", url=url)
        self.wait_load(before)

    def run(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise OSError(result["exceptionDetails"].get("exception", {}).get("description", "script failed"))
        return result["result"].get("value")

    def submit(self, form, **fields):
        """Fills in a form (a selector) and sends it, as somebody at the keyboard would."""
        script = f"const form = document.querySelector({json.dumps(form)});"
        for name, value in fields.items():
            script += f"form.elements[{json.dumps(name)}].value = {json.dumps(value)};"
        before = self.loads
        self.run(f"{{ {script} form.requestSubmit(); }}")
        self.wait_load(before)

    def click(self, selector):
        before = self.loads
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait_load(before)

    @property
    def text(self):
        return self.run("document.body.innerText")

    def screenshot(self, path, full=True):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
