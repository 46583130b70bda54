import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Readers, writers and checks beside work that moves and removes what they look at.
@Suite("Beside moves and removals")
struct MovedRecordTests {
    @Test("records that are merged between being looked up and being read are read where they are then")
    func mergedMeanwhile() throws {
        let fixture = try VaultFixture()
        let other = try fixture.open()
        let machine = try fixture.join(other)
        let writer = try TestWriter(other, machine)
        var points: [PointID] = []
        for index in 0..<20 { points.append(try writer.backup(["only \(index)"], salt: "\(index)").point) }
        writer.close()
        // Merges as soon as the reader asks for a record.
        let isDue = Mutex(false)
        let vault = try fixture.open { options in
            options.decorate = { base in
                BadSectorStore(base) { _, _ in
                    let isNow = isDue.withLock { isDue in
                        defer { isDue = false }
                        return isDue
                    }
                    if isNow { _ = try? other.reclaim() }
                    return false
                }
            }
        }
        isDue.withLock { $0 = true }
        #expect(try vault.point(points[3]).locator.point == points[3])
        #expect(isDue.withLock { !$0 })
        #expect(try RecordPacks.names(in: vault).count == 1)
    }

    @Test("packs that are stored beside incomplete nodes do not have them all read again for each")
    func reviews() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        let shared: TestBlob
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            for index in 0..<20 { try writer.backup(["shared"], salt: "\(index)") }
            writer.close()
            shared = writer.make.data("shared")
            let copy = try #require(try vault.catalog.copies(of: [shared.id]).first)
            try vault.store.delete(StoreKey.pack(copy.packName))
        }
        _ = try fixture.rebuild()
        let reads = Mutex(0)
        let vault = try fixture.open { options in
            options.decorate = { base in
                BadSectorStore(base) { _, _ in
                    reads.withLock { $0 += 1 }
                    return false
                }
            }
        }
        let writer = try TestWriter(vault, machine)
        reads.withLock { $0 = 0 }
        for index in 0..<10 { try writer.store([writer.make.data("more \(index)")]) }
        #expect(reads.withLock { $0 } < 20)
        try writer.store([shared])
        #expect(try vault.points(PointQuery()).allSatisfy { $0.condition == .whole })
        try writer.store([writer.make.data("last")])
        writer.close()
        #expect(try fixture.open().points(PointQuery()).allSatisfy { $0.condition == .whole })
    }

    @Test("a rebuild of the catalog keeps what verification had found, and when it looked")
    func rebuildKeepsFindings() throws {
        let fixture = try VaultFixture()
        let machine: TestMachine
        let blob: TestBlob
        do {
            let vault = try fixture.open()
            machine = try fixture.join(vault)
            let writer = try TestWriter(vault, machine)
            try writer.backup(["sound", "to be damaged"])
            writer.close()
            blob = writer.make.data("to be damaged")
            let copy = try #require(try vault.catalog.copies(of: [blob.id]).first)
            try fixture.flip(copy.packName, at: Int(copy.offset) + 80)
            #expect(try !vault.verify(VerificationRequest(level: .packs)).isSound)
        }
        let report = try fixture.rebuild()
        #expect(report.damagedPoints.count == 1)
        let vault = try fixture.open()
        let writer = try TestWriter(vault, machine)
        #expect(try writer.missing([blob, writer.make.data("sound")]) == [true, false])
        writer.close()
        let packs = try vault.catalog.packs(after: 0, limit: 100)
        #expect(packs.count > 3 && packs.allSatisfy { $0.checkedPack.nanoseconds > 0 })
        // Without the old catalog nobody knows: then it is said.
        try fixture.store().delete(["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"])
    }

    /// A disk that is full once, when a new pack is stored for the second time, and has a reserve.
    private final class OnceFullStore: BlobStore, SpaceReserve {
        private let base: any BlobStore
        private let stored = Mutex<Int?>(nil)

        init(_ base: any BlobStore) { self.base = base }

        /// From now on packs are counted.
        func begin() { stored.withLock { $0 = 0 } }

        var location: String { base.location }
        func put(_ key: String, _ bytes: UnsafeRawBufferPointer, mode: PutMode) throws -> Bool {
            let number = stored.withLock { stored -> Int in
                guard key.hasPrefix(StoreKey.packsPrefix), let count = stored else { return 0 }
                stored = count + 1
                return count + 1
            }
            if number == 2 { throw HoldfastError(.noSpace, "the disk is full") }
            return try base.put(key, bytes, mode: mode)
        }
        func get(_ key: String, atMost limit: Int) throws -> [UInt8] { try base.get(key, atMost: limit) }
        func read(_ key: String, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
            try base.read(key, at: offset, into: buffer)
        }
        func head(_ key: String) throws -> UInt64? { try base.head(key) }
        func list(_ prefix: String, _ body: (StoredObject) throws -> Bool) throws { try base.list(prefix, body) }
        func delete(_ keys: [String]) throws { try base.delete(keys) }
        func space() throws -> StoreSpace? { try base.space() }
        func createReserve() throws -> Bool { true }
        func releaseReserve() throws -> Bool { true }
    }

    /// A mebibyte that does not get smaller.
    private static func noise(seed: UInt64) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
            var state = seed
            UnsafeMutableRawBufferPointer(buffer).withMemoryRebound(to: UInt64.self) { words in
                for index in words.indices {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    words[index] = state ^ (state >> 29)
                }
            }
            count = 1 << 20
        }
    }

    @Test("what a rewriting had done when the disk became full is no damage to its second try")
    func fullInRewriting() throws {
        let fixture = try VaultFixture()
        let made = Mutex<OnceFullStore?>(nil)
        let vault = try fixture.open { options in
            options.decorate = { base in
                let store = OnceFullStore(base)
                made.withLock { $0 = store }
                return store
            }
        }
        let writer = try TestWriter(vault, fixture.join(vault))
        // More than two packs full, in small ones.
        let blobs = (0..<36).map { writer.make.data(MovedRecordTests.noise(seed: $0)) }
        for blob in blobs { try writer.store([blob]) }
        let root = writer.make.node("root", blobs.map(\.id))
        try writer.store([root])
        try writer.commit(writer.point(root: root))
        writer.close()
        made.withLock { $0?.begin() }
        let report = try vault.reclaim()
        #expect(report.newPacks == 3 && report.rewrittenPacks == 36, "\(report)")
        #expect(report.unreadable.isEmpty && report.leftForRoom == 0)
        _ = try wholeness(of: [root.id], in: vault)
    }

    @Test("packs are not dated as checked when what leads to them could not be opened")
    func unreadNodes() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let data = writer.make.data("below")
        let root = writer.make.blob(.node, [1, 0, 1] + data.key.bytes.array, [data.id])
        try writer.store([data])
        try writer.store([root])
        try writer.commit(writer.point(root: root))
        writer.close()
        var request = VerificationRequest(level: .data)
        request.keys = fixture.keys
        func dates() throws -> [Timestamp] { try vault.catalog.packs(after: 0, limit: 100).map(\.checkedData) }
        let copy = try #require(try vault.catalog.copies(of: [root.id]).first)
        try fixture.flip(copy.packName, at: Int(copy.range.upperBound) - 5)
        #expect(try vault.verify(request).checkedPacks == 0)
        #expect(try dates().allSatisfy { $0.nanoseconds == 0 })
        try fixture.flip(copy.packName, at: Int(copy.range.upperBound) - 5)
        let report = try vault.verify(request)
        #expect(report.isSound && report.checkedPacks == 4, "\(report)")
        #expect(try dates().allSatisfy { $0.nanoseconds > 0 })
    }
}
