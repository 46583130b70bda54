import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct VaultConfigTests {
    private let config = VaultConfig(
        vault: KeysFixture.vault, kind: .ownerOnly, created: KeysFixture.now, master: KeysFixture.master)

    /// The file with some fields replaced, in the form in which it is written.
    private func changed(_ changes: [String: JSONValue?]) throws -> [UInt8] {
        guard case .object(var members) = try JSONValue(parsing: config.encoded()) else { return [] }
        for (name, value) in changes { members[name] = value }
        return JSONValue.object(members).encoded()
    }

    @Test("The file is read back and its MAC holds for its master secret only")
    func roundTrip() throws {
        let read = try VaultConfig.decode(config.encoded())
        #expect(read == config)
        #expect(read.encoded() == config.encoded())
        try read.verify(mac: KeysFixture.master)
        #expect(throws: HoldfastError.self) { try read.verify(mac: .random()) }
        for operation in VaultConfig.Operation.allCases { try read.check(operation: operation) }
    }

    @Test("A change of any field is found by the MAC")
    func changes() throws {
        let changes: [(String, JSONValue)] = [
            ("chunker", .string("fastcdc-1/4K/8K/16K")), ("created", .string("2026-11-20T10:15:01Z")),
            ("kind", .string("server-readable")), ("signing", .string(String(repeating: "00", count: 32))),
            ("tree", .string("prolly-1/8K/32K/64K")), ("vault", .string(String(repeating: "00", count: 16))),
            ("requires", .object(["delete": .array([]), "read": .array([.string("x")]), "write": .array([])])),
            ("mac", .string(String(repeating: "00", count: 32))), ("added", .integer(1)),
        ]
        for (name, value) in changes {
            let read = try VaultConfig.decode(try changed([name: value]))
            let error = try #require(throws: HoldfastError.self, "\(name)") { try read.verify(mac: KeysFixture.master) }
            #expect(error.code == .damaged)
        }
    }

    @Test("Another spelling of the same values is refused, because the MAC is over bytes")
    func spelling() {
        let bytes = config.encoded()
        for other in [bytes + [0x0A], [0x20] + bytes] {
            #expect(throws: HoldfastError.self) { try VaultConfig.decode(other) }
        }
    }

    @Test("A newer format is refused with its number, even when nothing else in it is known")
    func newerFormat() throws {
        let error = try #require(throws: HoldfastError.self) {
            try VaultConfig.decode(Array(#"{"format":7,"kind":"quantum"}"#.utf8))
        }
        #expect(error.code == .unsupported)
        #expect(error.message.contains("format 7"))
        #expect(error.message.contains("up to 1"))
    }

    @Test("Features of a newer program bar the operation that needs them and no other")
    func features() throws {
        let config = VaultConfig(
            vault: KeysFixture.vault, kind: .ownerOnly, created: KeysFixture.now, master: KeysFixture.master,
            requires: [.write: ["striping", "erasure"]])
        let read = try VaultConfig.decode(config.encoded())
        try read.verify(mac: KeysFixture.master)
        try read.check(operation: .read)
        try read.check(operation: .delete)
        let error = try #require(throws: HoldfastError.self) { try read.check(operation: .write) }
        #expect(error.code == .unsupported)
        #expect(error.message.contains("erasure, striping"))
    }

    @Test("A vault cut in another way can be read but not written")
    func otherChunker() throws {
        let config = VaultConfig(
            vault: KeysFixture.vault, kind: .ownerOnly, created: KeysFixture.now, master: KeysFixture.master,
            requires: [:], chunker: "fastcdc-2/1M/4M/16M")
        try config.check(operation: .read)
        #expect(throws: HoldfastError.self) { try config.check(operation: .write) }
    }

    @Test("Missing or wrong fields are named")
    func fields() throws {
        for name in ["chunker", "created", "format", "kind", "mac", "requires", "signing", "tree", "vault"] {
            for value in [nil, JSONValue.null, .integer(-5), .string("?"), .array([]), .object([:])] {
                guard let bytes = try? changed([name: value]) else { continue }
                if ["chunker", "tree"].contains(name), case .string = value { continue }
                let error = try #require(throws: HoldfastError.self, "\(name)") { try VaultConfig.decode(bytes) }
                #expect(error.message.contains(name), "\(name): \(error.message)")
            }
        }
    }

    @Test("Mutated files are refused or found by the MAC")
    func fuzz() {
        var generator = FuzzGenerator(seed: 5)
        let bytes = config.encoded()
        for _ in 0..<3_000 {
            let mutated = generator.mutation(of: bytes)
            guard mutated != bytes, let read = try? VaultConfig.decode(mutated) else { continue }
            #expect(throws: HoldfastError.self) { try read.verify(mac: KeysFixture.master) }
        }
    }
}
