import Catalog
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

/// What `vault init` may and may not do to a directory.
@Suite("Making a vault")
struct VaultCreationTests {
    private func material() throws -> (config: [UInt8], files: [(name: String, bytes: [UInt8])]) {
        let made = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000))
        return (made.config, made.files.map { (KeyFiles.prefix + $0.name, $0.bytes) })
    }

    /// All objects of a directory with their bytes.
    private func contents(_ store: DirectoryStore) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        var keys: [String] = []
        for prefix in ["config", "keys/", "packs/"] {
            try store.list(prefix) { object in
                keys.append(object.key)
                return true
            }
        }
        for key in keys { result[key] = try store.get(key, atMost: 64 << 20) }
        return result
    }

    @Test("a vault that lost its config.json is not replaced, and nothing suggests to", arguments: [true, false])
    func lostConfiguration(hasPacks: Bool) throws {
        let fixture = try VaultFixture()
        let first = try material()
        let store = try fixture.store()
        for file in first.files { try store.put(file.name, file.bytes) }
        if hasPacks { _ = try fixture.join(fixture.open()) }
        try store.delete(StoreKey.config)
        let before = try contents(store)
        let second = try material()
        let path = Array(fixture.path.utf8)
        let error = #expect(throws: HoldfastError.self) {
            try VaultDirectory.create(path: path, config: second.config, files: second.files)
        }
        #expect(error?.code == .exists)
        #expect(try contents(store) == before)
        let opening = #expect(throws: HoldfastError.self) { try fixture.open() }
        #expect(opening?.message.contains("makes one") == false)
        #expect(opening?.message.contains("config.json") == true)
    }

    @Test("of two that make a vault at once one has it, whole")
    func race() throws {
        let fixture = try VaultFixture()
        let store = try fixture.store()
        try store.delete(StoreKey.config)
        // The other one's files, as they stand when this one's check has passed: here they come one step later.
        let own = try material()
        let other = try material()
        for file in other.files.suffix(1) { try store.put(file.name, file.bytes) }
        let before = try contents(store)
        #expect(throws: HoldfastError.self) {
            try VaultDirectory.create(path: Array(fixture.path.utf8), config: own.config, files: own.files)
        }
        #expect(try contents(store) == before)
        // Many at once.
        let place = try VaultFixture()
        try place.store().delete(StoreKey.config)
        let path = Array(place.path.utf8)
        let outcomes = Outcomes()
        let all = try (0..<6).map { _ in try material() }
        let threads = try all.enumerated().map { index, material in
            try WorkerThread(name: "init") {
                let made: Void? = try? VaultDirectory.create(path: path, config: material.config, files: material.files)
                if made != nil { outcomes.add(index) }
            }
        }
        for thread in threads { thread.join() }
        let winners = outcomes.all
        #expect(winners.count <= 1)
        if let winner = winners.first {
            let found = try contents(place.store())
            #expect(found["config.json"] == all[winner].config)
            for file in all[winner].files { #expect(found[file.name] == file.bytes) }
        }
    }
}

/// Numbers from several threads.
private final class Outcomes: Sendable {
    private let numbers = Mutex<[Int]>([])
    func add(_ number: Int) { numbers.withLock { $0.append(number) } }
    var all: [Int] { numbers.withLock { $0 } }
}
