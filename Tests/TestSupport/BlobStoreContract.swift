import Model
import Platform
import Synchronization
package import Vault

/// What every `BlobStore` must keep. Each check gets a store of its own that is empty.
///
/// ```
/// @Test("a directory keeps the contract of a store", arguments: BlobStoreContract.checks)
/// func contract(check: BlobStoreContract.Check) throws { try check.run(on: makeStore()) }
/// ```
package enum BlobStoreContract {
    /// The rule that was broken.
    package struct Violation: Error, CustomStringConvertible {
        package let description: String
    }

    /// One rule.
    package struct Check: Sendable, CustomStringConvertible {
        package let description: String
        private let body: @Sendable (any BlobStore) throws -> Void

        fileprivate init(_ description: String, _ body: @escaping @Sendable (any BlobStore) throws -> Void) {
            self.description = description
            self.body = body
        }

        package func run(on store: any BlobStore) throws { try body(store) }
    }

    package static let checks: [Check] = [
        Check("what was put is read back, whole and in parts") { store in
            for size in [0, 1, 4096, 300_000, (1 << 20) + 3] {
                let key = "packs/ab/object-\(size)"
                let bytes = sample(size)
                try expect(try store.put(key, bytes), "a new object was not created")
                try expect(try store.get(key, atMost: size) == bytes, "get of \(size) bytes")
                try expect(try store.head(key) == UInt64(size), "head of \(size) bytes")
                try expect(try store.contains(key), "contains")
                if size > 10 {
                    try expect(try store.get(key, 3..<9) == Array(bytes[3..<9]), "a range")
                    let middle = UInt64(size / 2)
                    try expect(
                        try store.get(key, middle..<UInt64(size)) == Array(bytes[Int(middle)...]), "the second half")
                }
                try expect(try store.get(key, 0..<UInt64(size)) == bytes, "the range of everything")
                try expect(try store.get(key, UInt64(size)..<UInt64(size)) == [], "an empty range at the end")
            }
        },
        Check("putting if absent keeps the object that is there") { store in
            try expect(try store.put("a", [1, 2, 3]), "created")
            try expect(try store.put("a", [4]) == false, "the second put said it created")
            try expect(try store.get("a", atMost: 10) == [1, 2, 3], "the first object is gone")
        },
        Check("putting as a replacement replaces") { store in
            try expect(try store.put("a/b", [1, 2, 3], mode: .replacing), "created")
            try expect(try store.put("a/b", [4], mode: .replacing), "replaced")
            try expect(try store.get("a/b", atMost: 10) == [4], "the old object is still there")
            try expect(try store.head("a/b") == 1, "the old size")
        },
        Check("what is not there is not found") { store in
            try store.put("packs/ab/x", [1])
            for key in ["nothing", "packs/ab/y", "packs/cd/x", "packs/ab", "packs", "packs/ab/x/y"] {
                try expectError(.notFound, "get of \(key)") { _ = try store.get(key, atMost: 10) }
                try expectError(.notFound, "read of \(key)") { _ = try store.get(key, 0..<1) }
                try expect(try store.head(key) == nil, "head of \(key)")
            }
        },
        Check("reading beyond the end or more than allowed is damage") { store in
            try store.put("packs/ab/x", sample(100))
            try expectError(.damaged, "a range over the end") { _ = try store.get("packs/ab/x", 90..<101) }
            try expectError(.damaged, "a range beyond the end") { _ = try store.get("packs/ab/x", 1000..<1001) }
            try expectError(.damaged, "a limit below the size") { _ = try store.get("packs/ab/x", atMost: 99) }
        },
        Check("listing finds exactly what begins with the prefix") { store in
            let keys = [
                "config.json", "keys/1.json", "keys/2.json", "packs/ab/1", "packs/ab/2", "packs/ac/3", "packsx",
            ]
            for (index, key) in keys.enumerated() { try store.put(key, sample(index)) }
            for prefix in ["", "keys/", "packs/", "packs/a", "packs/ab/", "packs/ab/2", "pack", "x", "keys/3"] {
                var found: [String: UInt64] = [:]
                try store.list(prefix) { object in
                    found[object.key] = object.size
                    return true
                }
                let expected = keys.filter { $0.hasPrefix(prefix) }
                try expect(found.keys.sorted() == expected.sorted(), "prefix '\(prefix)': \(found.keys.sorted())")
                for (key, size) in found { try expect(size == UInt64(keys.firstIndex(of: key)!), "size of \(key)") }
            }
        },
        Check("a listing ends when it is told to, and passes errors on") { store in
            for index in 0..<10 { try store.put("packs/ab/\(index)", [1]) }
            var seen = 0
            try store.list("packs/") { _ in
                seen += 1
                return seen < 3
            }
            try expect(seen == 3, "\(seen) objects were listed")
            try expectError(.cancelled, "the error of the caller") {
                try store.list("packs/") { _ in throw HoldfastError(.cancelled, "stop") }
            }
        },
        Check("deletion takes what is there and passes over the rest") { store in
            for index in 0..<5 { try store.put("packs/ab/\(index)", [1]) }
            try store.delete(["packs/ab/0", "packs/ab/3", "packs/ab/9", "packs/zz/1", "nothing"])
            try store.delete("packs/ab/0")
            var left: [String] = []
            try store.list("") { object in
                left.append(object.key)
                return true
            }
            try expect(left.sorted() == ["packs/ab/1", "packs/ab/2", "packs/ab/4"], "left: \(left.sorted())")
            try expect(try store.put("packs/ab/0", [2]), "a deleted key cannot be used again")
            try expect(try store.get("packs/ab/0", atMost: 1) == [2], "the deleted object came back")
        },
        Check("malformed keys are refused") { store in
            let keys = [
                "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.b", "a b", "ä",
                "a\u{0}b",
                "a\\b", String(repeating: "a", count: 201),
            ]
            for key in keys {
                try expectError(.usage, "put of '\(key)'") { try store.put(key, [1]) }
                try expectError(.usage, "get of '\(key)'") { _ = try store.get(key, atMost: 1) }
                try expectError(.usage, "read of '\(key)'") { _ = try store.get(key, 0..<1) }
                try expectError(.usage, "head of '\(key)'") { _ = try store.head(key) }
                try expectError(.usage, "delete of '\(key)'") { try store.delete(key) }
            }
        },
        Check("of many who put one key, one creates it") { store in
            for round in 0..<5 {
                let created = Mutex<[UInt8]>([])
                let failures = Mutex<[String]>([])
                let threads = try (0..<8).map { index in
                    try WorkerThread(name: "put") {
                        do {
                            let bytes = [UInt8](repeating: UInt8(index), count: 10_000)
                            if try store.put("packs/ab/\(round)", bytes) {
                                created.withLock { $0.append(UInt8(index)) }
                            }
                        } catch { failures.withLock { $0.append("\(error)") } }
                    }
                }
                for thread in threads { thread.join() }
                try expect(failures.withLock { $0 }.isEmpty, "errors: \(failures.withLock { $0 })")
                let winners = created.withLock { $0 }
                try expect(winners.count == 1, "\(winners.count) created one object")
                let bytes = try store.get("packs/ab/\(round)", atMost: 10_000)
                try expect(bytes == [UInt8](repeating: winners[0], count: 10_000), "the object is not the winner's")
            }
        },
        Check("nobody sees half an object") { store in
            let size = 400_000
            let bytes = sample(size)
            let done = Mutex(false)
            let failures = Mutex<[String]>([])
            let writer = try WorkerThread(name: "writer") {
                do {
                    for index in 0..<20 { try store.put("packs/ab/\(index)", bytes, mode: .replacing) }
                } catch { failures.withLock { $0.append("\(error)") } }
                done.withLock { $0 = true }
            }
            while !done.withLock({ $0 }) {
                try store.list("packs/") { object in
                    if object.size != UInt64(size) { failures.withLock { $0.append("size \(object.size)") } }
                    if try store.get(object.key, atMost: size).count != size {
                        failures.withLock { $0.append("half of \(object.key)") }
                    }
                    return true
                }
            }
            writer.join()
            try expect(failures.withLock { $0 }.isEmpty, "\(failures.withLock { $0 })")
        },
    ]

    private static func sample(_ count: Int) -> [UInt8] {
        // Doubling is quick in debug builds too; an odd period keeps pages from being equal.
        var bytes: [UInt8] = [1, 7, 3, 250, 9, 0, 77]
        while bytes.count < count { bytes += bytes + [UInt8(truncatingIfNeeded: bytes.count)] }
        return Array(bytes[..<count])
    }

    private static func expect(_ condition: @autoclosure () throws -> Bool, _ what: String) throws {
        guard try condition() else { throw Violation(description: what) }
    }

    private static func expectError(_ code: HoldfastError.Code, _ what: String, _ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as HoldfastError {
            guard error.code == code else {
                throw Violation(description: "\(what): \(error.code) instead of \(code): \(error)")
            }
            return
        }
        throw Violation(description: "\(what): no error")
    }
}
