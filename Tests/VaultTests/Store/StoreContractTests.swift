import Glibc
import Model
import TestSupport
import Testing

@testable import Vault

/// A directory for one test, removed at its end.
final class ScratchDirectory: Sendable {
    let path: String

    init() throws {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/holdfast-store-XXXXXX".utf8CString)
        guard let made = template.withUnsafeMutableBufferPointer({ mkdtemp($0.baseAddress!) }) else {
            throw HoldfastError(.io, "no temporary directory")
        }
        path = String(cString: made)
    }

    deinit { removeTree(path) }

    /// The paths of all regular files below, relative and sorted.
    func files() -> [String] { list(path, prefix: "").sorted() }

    private func list(_ path: String, prefix: String) -> [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var found: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            if entry.pointee.d_type == DT_DIR {
                found += list("\(path)/\(name)", prefix: "\(prefix)\(name)/")
            } else {
                found.append(prefix + name)
            }
        }
        return found
    }
}

private func removeTree(_ path: String) {
    if let directory = opendir(path) {
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { removeTree("\(path)/\(name)") }
        }
        closedir(directory)
        rmdir(path)
    } else {
        unlink(path)
    }
}

@Suite struct StoreContractTests {
    @Test("a directory keeps the contract of a store", arguments: BlobStoreContract.checks)
    func directory(check: BlobStoreContract.Check) throws {
        let scratch = try ScratchDirectory()
        try check.run(on: DirectoryStore(path: scratch.path))
        // Whatever happened, nothing but the lock is left aside.
        #expect(scratch.files().filter { $0.hasPrefix("tmp/") } == [])
    }

    @Test("the store in memory keeps the contract of a store", arguments: BlobStoreContract.checks)
    func memory(check: BlobStoreContract.Check) throws { try check.run(on: MemoryStore()) }

    @Test(
        "a retrying store keeps the contract over a store that fails now and then", arguments: BlobStoreContract.checks)
    func retrying(check: BlobStoreContract.Check) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var plan = FaultStore.Plan(seed: seed)
        plan.temporaryFailure = 0.2
        let store = RetryingStore(
            FaultStore(MemoryStore(), plan),
            policy: RetryingStore.Policy(attempts: 60, firstPause: 0, longestPause: 0))
        do { try check.run(on: store) } catch { Issue.record("seed \(seed): \(error)") }
    }

    @Test("a counting store keeps the contract of a store", arguments: BlobStoreContract.checks)
    func counting(check: BlobStoreContract.Check) throws { try check.run(on: CountingStore(MemoryStore())) }

    @Test("a limited store keeps the contract of a store", arguments: BlobStoreContract.checks)
    func limited(check: BlobStoreContract.Check) throws {
        try check.run(on: LimitedStore(MemoryStore(), writeLimit: 1 << 40, readLimit: 1 << 40))
    }

    @Test("a caching store keeps the contract of a store", arguments: BlobStoreContract.checks)
    func caching(check: BlobStoreContract.Check) throws {
        try check.run(on: CachingStore(MemoryStore(), limit: 300_000))
    }

    @Test("a fault store without faults keeps the contract of a store", arguments: BlobStoreContract.checks)
    func faults(check: BlobStoreContract.Check) throws {
        try check.run(on: FaultStore(MemoryStore(), FaultStore.Plan(seed: 1)))
    }
}
