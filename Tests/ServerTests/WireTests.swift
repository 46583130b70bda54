import Client
import Model
import TestSupport
import Testing
import Vault

@Suite("The wire")
struct WireTests {
    private let key = SigningKey(seed: Array(0..<32))!
    private let machine = MachineID(hex: "000102030405060708090a0b0c0d0e0f")!
    private let server = ServerID(hex: "101112131415161718191a1b1c1d1e1f")!
    private let nonce = RequestNonce(hex: "202122232425262728292a2b2c2d2e2f")!
    private let vault = VaultID(hex: "303132333435363738393a3b3c3d3e3f")!

    @Test("requests and answers are written as they always were")
    func golden() throws {
        let token = RequestToken(
            machine: machine, server: server, issued: 1_800_000_000, nonce: nonce, method: "PUT",
            target: "/api/v1/x?lease=1", body: .zero)
        let point = PointID(hex: "404142434445464748494a4b4c4d4e4f")!
        let head = MachineHead(
            incarnation: IncarnationID(hex: "505152535455565758595a5b5c5d5e5f")!, number: 7, hash: LocatorHash(.zero))
        let blob = BlobID(.zero)
        var frame = ByteWriter()
        [UInt8]([1, 2, 3]).withUnsafeBytes { VaultMessages.appendFrame(blob, $0, to: &frame) }
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        var lines: [String] = []
        // Ed25519 of this library is randomised: the signature is checked, the rest compared.
        let signed = try token.signed(with: key)
        lines.append("token " + signed.split(separator: ".").dropLast().joined(separator: "."))
        #expect(RequestToken.parse(signed)?.verified(with: key.verifyingKey) == token)
        lines.append("lease-writer " + text(VaultMessages.encode(.writer(machine: machine, head: head, base: point))))
        lines.append("lease-reader " + text(VaultMessages.encode(.reader([point]))))
        lines.append(
            "lease "
                + text(
                    VaultMessages.encode(
                        Lease(
                            id: LeaseID(hex: nonce.hex)!, generation: 3, head: head,
                            next: PointPosition(incarnation: head.incarnation, number: 8, previous: head.hash),
                            isNewIncarnation: false, baseAvailable: true, damaged: [blob]), seconds: 600)))
        lines.append(
            "receipt "
                + text(
                    VaultMessages.encode(
                        CommitReceipt(point: point, arrival: Timestamp(nanoseconds: 5), storedUpTo: head))))
        lines.append(
            "questions "
                + Hex.encode(
                    VaultMessages.encode([BlobQuestion(id: blob), BlobQuestion(id: blob, key: ContentKey(.zero))])))
        lines.append(
            "missing "
                + Hex.encode(VaultMessages.encode(missing: [true, false, true] + Array(repeating: true, count: 7))))
        lines.append("ids " + Hex.encode(VaultMessages.encode(ids: [blob])))
        lines.append("frame " + Hex.encode(frame.bytes))
        lines.append("records " + Hex.encode(VaultMessages.encode(records: [[1], [2, 3]])))
        lines.append(
            "identity "
                + text(
                    ServerDescription(
                        server: server, key: key.verifyingKey, version: "1", certificate: nil, vault: vault, time: 9
                    ).encoded()))
        lines.append("problem " + text(Problem.encode(HoldfastError(.denied, "no", context: ["point": "p"]))))
        try assertSnapshot(lines.joined(separator: "\n") + "\n", named: "wire.txt")
    }

    @Test("an answer's signature is over nonce, status, time and body")
    func answers() throws {
        let signature = try AnswerSignature.sign(nonce: nonce, status: 200, time: 5, body: .zero, with: key)
        func holds(_ nonce: RequestNonce, _ status: Int, _ time: Int64, _ body: Bytes32) -> Bool {
            AnswerSignature.verify(
                signature, nonce: nonce, status: status, time: time, body: body, with: key.verifyingKey)
        }
        let other = Bytes32([UInt8](repeating: 1, count: 32))!
        #expect(holds(nonce, 200, 5, .zero))
        #expect(!holds(.random(), 200, 5, .zero) && !holds(nonce, 204, 5, .zero))
        #expect(!holds(nonce, 200, 6, .zero) && !holds(nonce, 200, 5, other))
        #expect(!AnswerSignature.verify("", nonce: nonce, status: 200, time: 5, body: .zero, with: key.verifyingKey))
    }

    @Test(
        "addresses of servers",
        arguments: [
            ("https://backup.example.org", "https://backup.example.org:7443"),
            ("https://backup.example.org:443/", "https://backup.example.org:443"),
            ("HTTPS://10.0.0.1:1/holdfast//", "https://10.0.0.1:1/holdfast"),
            ("https://[::1]", "https://[::1]:7443"), ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ])
    func addresses(text: String, meaning: String) throws {
        #expect(try ServerAddress(text).description == meaning)
        #expect(try ServerAddress(meaning) == ServerAddress(text))
    }

    @Test(
        "what is no address of a server is refused with an example",
        arguments: [
            "http://x", "x", "https://", "https://:7443", "https://x:0", "https://x:65536", "https://x:y",
            "https://u:p@x", "https://x?q", "https://x#f", "https://x y", "https://ä", "https:///path",
        ])
    func wrongAddresses(text: String) {
        let error = #expect(throws: HoldfastError.self) { try ServerAddress(text) }
        #expect(error?.code == .usage && error?.context["hint"]?.contains("https://") == true)
    }

    @Test("the proxy of the environment, with exceptions, names and passwords")
    func proxies() {
        func place(_ environment: [String: String], _ host: String = "backup.example.org") -> ProxySetting.Place? {
            ProxySetting.place(for: host, environment: environment)
        }
        let proxy = ProxySetting.Place(host: "proxy", port: 8_080)
        #expect(place([:]) == nil && place(["HTTPS_PROXY": ""]) == nil)
        #expect(place(["HTTPS_PROXY": "http://proxy:8080"]) == proxy)
        #expect(place(["https_proxy": "proxy:8080/"]) == proxy)
        #expect(place(["HTTPS_PROXY": "http://proxy"]) == ProxySetting.Place(host: "proxy", port: 3_128))
        #expect(place(["ALL_PROXY": "http://proxy:8080", "HTTPS_PROXY": "http://b:1"])?.host == "b")
        #expect(place(["HTTPS_PROXY": "http://proxy:0"]) == nil)
        #expect(place(["HTTPS_PROXY": "http://[fd00::1]:8080"]) == ProxySetting.Place(host: "fd00::1", port: 8_080))
        let signed = place(["HTTPS_PROXY": "http://ann:p%40ss@proxy:8080"])
        #expect(signed?.user == "ann" && signed?.password == "p@ss" && signed?.host == "proxy")
        for exception in ["example.org", ".example.org", "a, example.org", "*", "backup.example.org"] {
            #expect(place(["HTTPS_PROXY": "http://proxy:8080", "NO_PROXY": exception]) == nil, "\(exception)")
        }
        #expect(place(["HTTPS_PROXY": "http://proxy:8080", "no_proxy": "ample.org,other"]) == proxy)
    }

    @Test("codes are one word, and say what is wrong with another")
    func codes() throws {
        let token = SecretToken.random()
        let enrolment = EnrolmentCode(token: token, serverKey: key.verifyingKey)
        #expect(try EnrolmentCode(enrolment.text).token.text == token.text)
        let access = AccessCode(token: token, serverKey: key.verifyingKey)
        let read = try AccessCode(file: Array((access.text + "\n# of ann\n").utf8))
        #expect(read.token.text == token.text && read.serverKey == key.verifyingKey)
        for text in ["", "hfa_", token.text, enrolment.text, access.text + "x", String(access.text.dropLast(3))] {
            #expect(throws: HoldfastError.self) { try AccessCode(file: Array(text.utf8)) }
        }
        #expect(throws: HoldfastError.self) { try EnrolmentCode(access.text) }
    }
}
