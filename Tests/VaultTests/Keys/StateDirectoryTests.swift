import Foundation
import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct StateDirectoryTests {
    /// Runs `body` with the path of a state directory that is not there yet, and cleans up.
    private func withState(_ body: (String) throws -> Void) throws {
        let base = NSTemporaryDirectory() + "/holdfast-state-" + Hex.encode(KeyCrypto.random(8))
        try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: base) }
        try body(base + "/some/where/state")
    }

    private func mode(_ path: String) throws -> Int {
        try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    private func setMode(_ mode: Int, _ path: String) throws {
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
    }

    private func secrets(vault: VaultID = KeysFixture.vault, location: String = "/mnt") throws -> WriterSecrets {
        WriterSecrets(
            vault: vault, location: location, machine: KeysFixture.machine, signing: KeysFixture.machineKey,
            publicKey: try KeysFixture.pair().publicKey, vaultSigning: KeysFixture.master.vaultSigningKey.verifyingKey,
            domainSecrets: [DomainSecret(master: KeysFixture.master, domain: "vault", number: 1)],
            chunker: VaultConfig.currentChunker, tree: VaultConfig.currentTree)
    }

    @Test("The place is the one asked for, else the environment's, else the system's or the user's")
    func locating() throws {
        func locate(_ explicit: String?, root: Bool, _ environment: [String: String]) throws -> String {
            let path = try StateDirectory.locate(explicit: explicit.map { Array($0.utf8) }, isRoot: root) {
                environment[$0].map { Array($0.utf8) }
            }
            return String(decoding: path, as: UTF8.self)
        }
        let all = ["HOLDFAST_STATE": "/env", "XDG_STATE_HOME": "/xdg", "HOME": "/home/u"]
        #expect(try locate("/x", root: true, all) == "/x")
        #expect(try locate(nil, root: true, all) == "/env")
        #expect(try locate("", root: true, [:]) == "/var/lib/holdfast")
        #expect(try locate(nil, root: false, ["XDG_STATE_HOME": "/xdg", "HOME": "/h"]) == "/xdg/holdfast")
        #expect(
            try locate(nil, root: false, ["XDG_STATE_HOME": "relative", "HOME": "/h"]) == "/h/.local/state/holdfast")
        #expect(try locate(nil, root: false, ["HOLDFAST_STATE": "", "HOME": "/h"]) == "/h/.local/state/holdfast")
        #expect(throws: HoldfastError.self) { try locate(nil, root: false, [:]) }
        // A path is bytes.
        #expect(try StateDirectory.locate(explicit: [0x2F, 0xFF], isRoot: true) { _ in nil } == [0x2F, 0xFF])
    }

    @Test("What was kept is read again, from directories and files that nobody else may open")
    func keeping() throws {
        try withState { path in
            let state = try StateDirectory(path: Array((path + "//").utf8))
            #expect(try state.machine() == nil)
            #expect(try state.writerSecrets(of: KeysFixture.vault) == nil)
            #expect(try state.head(in: KeysFixture.vault) == nil)
            #expect(try state.vaults().isEmpty)
            let machine = try state.machine(orNamed: "web1")
            #expect(try state.machine(orNamed: "another") == machine)
            try state.save(MachineIdentity(id: machine.id, name: "renamed"))
            try state.save(try secrets())
            try state.save(try secrets(location: "/mnt/other"))
            let head = MachineHead(after: KeysFixture.locator())
            try state.save(head, in: KeysFixture.vault)
            let again = try #require(try StateDirectory.existing(path: Array(path.utf8)))
            #expect(try again.machine()?.name == "renamed")
            #expect(try again.machine()?.id == machine.id)
            let kept = try secrets(location: "/mnt/other").encoded()
            #expect(try again.writerSecrets(of: KeysFixture.vault)?.encoded() == kept)
            #expect(try again.head(in: KeysFixture.vault) == head)
            #expect(try again.vaults() == [KeysFixture.vault])
            for folder in ["", "/vaults", "/heads"] { #expect(try mode(path + folder) == 0o700) }
            for file in ["machine.json", "vaults/\(KeysFixture.vault).json", "heads/\(KeysFixture.vault).json"] {
                #expect(try mode(path + "/" + file) == 0o600)
            }
            let left = try FileManager.default.subpathsOfDirectory(atPath: path).filter { $0.contains(".new-") }
            #expect(left.isEmpty)
            let cache = String(decoding: try again.cacheDirectory(of: KeysFixture.vault), as: UTF8.self)
            #expect(try mode(cache) == 0o700)
            try again.forget(KeysFixture.vault)
            try again.forget(KeysFixture.vault)
            #expect(try again.vaults().isEmpty)
            #expect(try again.head(in: KeysFixture.vault) == nil)
        }
    }

    @Test("Where there is no state, looking for it makes none")
    func looking() throws {
        try withState { path in
            let found = try StateDirectory.existing(path: Array(path.utf8))
            #expect(found == nil)
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test("A directory or file that others may open is refused with the command that closes it")
    func openToOthers() throws {
        try withState { path in
            let state = try StateDirectory(path: Array(path.utf8))
            try state.save(try secrets())
            try setMode(0o755, path)
            let error = try #require(throws: HoldfastError.self) { try state.machine() }
            #expect(error.code == .denied)
            #expect(error.message.contains("chmod 700 \(path)"))
            #expect(throws: HoldfastError.self) { try StateDirectory.existing(path: Array(path.utf8)) }
            #expect(throws: HoldfastError.self) { try StateDirectory(path: Array(path.utf8)) }
            try setMode(0o700, path)
            let file = path + "/vaults/\(KeysFixture.vault).json"
            try setMode(0o640, file)
            let other = try #require(throws: HoldfastError.self) { try state.writerSecrets(of: KeysFixture.vault) }
            #expect(other.code == .denied)
            #expect(other.message.contains("chmod 600"))
            // Writing it anew closes it.
            try state.save(try secrets())
            #expect(try mode(file) == 0o600)
        }
    }

    @Test("A directory of another user is refused", .enabled(if: getuid() == 0))
    func foreign() throws {
        try withState { path in
            let state = try StateDirectory(path: Array(path.utf8))
            try FileManager.default.setAttributes([.ownerAccountID: 12_345], ofItemAtPath: path)
            let error = try #require(throws: HoldfastError.self) { try state.machine() }
            #expect(error.code == .denied)
            #expect(error.message.contains("uid 12345"))
        }
    }

    @Test("A symbolic link in place of a file is not followed, and a file in place of the directory is told")
    func links() throws {
        try withState { path in
            let state = try StateDirectory(path: Array(path.utf8))
            let target = path + "/elsewhere"
            try Data("{}".utf8).write(to: URL(fileURLWithPath: target))
            try FileManager.default.createSymbolicLink(atPath: path + "/machine.json", withDestinationPath: target)
            #expect(throws: HoldfastError.self) { try state.machine() }
            // A saved file replaces the link and leaves its target alone.
            try state.save(MachineIdentity(id: KeysFixture.machine, name: "m"))
            #expect(try Data(contentsOf: URL(fileURLWithPath: target)) == Data("{}".utf8))
            #expect(try state.machine()?.name == "m")
            let error = try #require(throws: HoldfastError.self) { try StateDirectory(path: Array(target.utf8)) }
            #expect(error.message.contains("elsewhere"))
        }
    }

    @Test("Damaged, foreign and newer files are told by their path")
    func damaged() throws {
        try withState { path in
            let state = try StateDirectory(path: Array(path.utf8))
            try state.save(try secrets())
            let file = path + "/vaults/\(KeysFixture.vault).json"
            let good = try Data(contentsOf: URL(fileURLWithPath: file))
            func put(_ data: Data, at path: String = file) throws {
                try data.write(to: URL(fileURLWithPath: path))
                try setMode(0o600, path)
            }
            try put(good.prefix(100))
            let cut = try #require(throws: HoldfastError.self) { try state.writerSecrets(of: KeysFixture.vault) }
            #expect(cut.code == .damaged)
            #expect(cut.message.contains(file))
            let newer = String(decoding: good, as: UTF8.self).replacingOccurrences(
                of: "\"version\":1", with: "\"version\":2")
            try put(Data(newer.utf8))
            let error = try #require(throws: HoldfastError.self) { try state.writerSecrets(of: KeysFixture.vault) }
            #expect(error.code == .unsupported)
            let other = VaultID.random()
            try put(good, at: path + "/vaults/\(other).json")
            #expect(throws: HoldfastError.self) { try state.writerSecrets(of: other) }
            try put(Data(repeating: 0x20, count: 2 << 20))
            #expect(throws: HoldfastError.self) { try state.writerSecrets(of: KeysFixture.vault) }
        }
    }

    @Test("Of several threads that name the machine at once, all get the same identity")
    func concurrentIdentity() async throws {
        let base = NSTemporaryDirectory() + "/holdfast-state-" + Hex.encode(KeyCrypto.random(8))
        defer { try? FileManager.default.removeItem(atPath: base) }
        let ids = try await withThrowingTaskGroup(of: MachineID.self) { group in
            for index in 0..<8 {
                group.addTask { try StateDirectory(path: Array(base.utf8)).machine(orNamed: "m\(index)").id }
            }
            return try await group.reduce(into: Set<MachineID>()) { $0.insert($1) }
        }
        #expect(ids.count == 1)
    }

    @Test("Temporary files of a killed process are removed a day later")
    func leftovers() throws {
        try withState { path in
            _ = try StateDirectory(path: Array(path.utf8))
            let old = path + "/vaults/.new-1111"
            let new = path + "/vaults/.new-2222"
            for file in [old, new] { try Data("x".utf8).write(to: URL(fileURLWithPath: file)) }
            let twoDaysAgo = Date(timeIntervalSinceNow: -2 * 86_400)
            try FileManager.default.setAttributes([.modificationDate: twoDaysAgo], ofItemAtPath: old)
            _ = try StateDirectory(path: Array(path.utf8))
            #expect(!FileManager.default.fileExists(atPath: old))
            #expect(FileManager.default.fileExists(atPath: new))
        }
    }

    @Test("Mutated files are read or refused, never more")
    func fuzz() throws {
        var generator = FuzzGenerator(seed: 40)
        let bytes = try secrets().encoded()
        for _ in 0..<1_000 { _ = try? WriterSecrets.decode(generator.mutation(of: bytes), document: "x") }
        let machine = MachineIdentity(id: KeysFixture.machine, name: "ä").encoded()
        for _ in 0..<1_000 { _ = try? MachineIdentity.decode(generator.mutation(of: machine), document: "x") }
    }
}
