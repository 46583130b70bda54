import Catalog
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

/// Disks that are full, and media that can only be read. Needs root and loop devices.
@Suite("A vault in a hard place", .serialized)
struct HardPlaceTests {
    /// A vault on a disk of its own with some points.
    private final class Scene {
        let disk: LoopFileSystem
        let path: [UInt8]
        let keys: VaultKeys
        let machine: TestMachine
        private(set) var receipts: [CommitReceipt] = []

        init?(_ kind: LoopFileSystem.Kind = .ext4) throws {
            guard let disk = LoopFileSystem.make(kind, megabytes: 160) else { return nil }
            self.disk = disk
            path = Array((disk.path + "/vault").utf8)
            try FileManager.default.createDirectory(atPath: disk.path + "/vault", withIntermediateDirectories: true)
            let made = try VaultKeys.makeVault(
                kind: .serverReadable, secrets: [], created: Timestamp(seconds: 1_700_000_000))
            keys = made.keys
            try VaultDirectory.create(path: path, config: made.config, files: [])
            let vault = try VaultDirectory.open(path: path)
            let id = MachineID.random()
            let enrolled = try made.keys.enrol(
                machine: id, name: "m", location: "", joined: Timestamp(seconds: 1_700_000_001))
            try vault.register(enrolled.record)
            machine = TestMachine(id: id, secrets: enrolled.secrets)
            let writer = try TestWriter(vault, machine)
            for index in 0..<4 {
                receipts.append(try writer.backup(["same", "only \(index)"], salt: "\(index)"))
            }
            writer.close()
        }

        func open(_ access: VaultDirectory.Access = .read) throws -> LocalVault {
            var options = VaultDirectory.Options()
            options.access = access
            return try VaultDirectory.open(path: path, options: options)
        }

        /// Fills the disk to its last byte.
        func fill(_ name: String = "filler") throws {
            let file = try FileDescriptor.open(Array((disk.path + "/" + name).utf8), [.writeOnly, .create, .append])
            for size in [1 << 20, 4_096, 1] {
                let bytes = [UInt8](repeating: 0x5A, count: size)
                while true { do throws(Errno) { try file.writeAll(bytes) } catch { break } }
            }
        }

        /// Leaves the catalog in one of the states that a medium is found in.
        func spoil(_ state: Int) throws {
            let store = try DirectoryStore(path: path)
            switch state {
            case 1: try store.delete("catalog.sqlite")
            case 2: try store.put("catalog.sqlite", Array(repeating: 7, count: 4_096), mode: .replacing)
            case 3:
                // A writer was killed: its lease and a log that nobody merged are left.
                let files = ["catalog.sqlite", "catalog.sqlite-wal", "catalog.witness"]
                var left: [[UInt8]] = []
                do {
                    let vault = try open(.fill)
                    _ = try TestWriter(vault, machine, head: receipts[3].storedUpTo)
                    left = try files.map { try store.get($0, atMost: 1 << 30) }
                }
                for (name, bytes) in zip(files, left) { try store.put(name, bytes, mode: .replacing) }
            default: break
            }
        }

        var hasReserve: Bool { get throws { try DirectoryStore(path: path).contains("reserve") } }

        func checkAll(_ vault: LocalVault) throws {
            for point in try vault.points(PointQuery()) { _ = try wholeness(of: point.references, in: vault) }
        }
    }

    @Test(
        "on a full disk points are listed, read and deleted and room is freed, with the reserve, which is there again")
    func fullDisk() throws {
        guard let scene = try Scene() else { return }
        #expect(try scene.hasReserve)
        try scene.fill()
        let error = #expect(throws: HoldfastError.self) { try scene.open(.fill) }
        #expect(error?.code == .noSpace)
        #expect(try scene.hasReserve, "what would fill the disk has no use of the reserve")
        do {
            let vault = try scene.open()
            #expect(try vault.points(PointQuery()).count == 4)
            let lease = try vault.openLease(.reader([scene.receipts[0].point]))
            try scene.checkAll(vault)
            vault.closeLease(lease.id)
        }
        #expect(try scene.hasReserve, "taken again")
        do {
            let vault = try scene.open(.change)
            try vault.deletePoints(scene.receipts[..<3].map(\.point))
        }
        #expect(try scene.hasReserve)
        do {
            let vault = try scene.open(.change)
            #expect(try vault.reclaim().freedBytes > 0)
            #expect(try vault.points(PointQuery()).map(\.id) == [scene.receipts[3].point])
            try scene.checkAll(vault)
        }
        #expect(try scene.hasReserve)
    }

    @Test("what the reserve is too small for is left for another time, and the rest is freed")
    func smallReserve() throws {
        guard let scene = try Scene() else { return }
        let point: PointID
        do {
            // Two packs of 6 MB: of the first the next point needs a third, of the second nothing.
            let writer = try TestWriter(scene.open(.fill), scene.machine, head: scene.receipts[3].storedUpTo)
            var generator = SeededGenerator(seed: 7)
            let blobs = (0..<12).map { _ in writer.make.data(generator.bytes(1 << 20)) }
            try writer.store(Array(blobs[..<6]))
            try writer.store(Array(blobs[6...]))
            let roots = [writer.make.node("all", blobs.map(\.id)), writer.make.node("some", blobs[..<2].map(\.id))]
            try writer.store([roots[0]])
            point = try writer.commit(writer.point(root: roots[0])).point
            try writer.store([roots[1]])
            try writer.commit(writer.point(root: roots[1]))
            writer.close()
        }
        try scene.fill()
        do {
            let vault = try scene.open(.change)
            try vault.deletePoints([point])
            let report = try vault.reclaim()
            #expect(report.freedBytes >= 6 << 20)
            try scene.checkAll(vault)
        }
        try FileManager.default.removeItem(atPath: scene.disk.path + "/filler")
        let vault = try scene.open(.change)
        _ = try vault.reclaim()
        try scene.checkAll(vault)
        #expect(try vault.verify(VerificationRequest(level: .packs)).isSound)
    }

    @Test("a full disk without a reserve is read from all the same")
    func fullDiskWithoutReserve() throws {
        guard let scene = try Scene() else { return }
        try DirectoryStore(path: scene.path).releaseReserve()
        try scene.fill()
        let vault = try scene.open()
        #expect(vault.notes.contains { $0.contains("full") })
        #expect(try vault.points(PointQuery()).count == 4)
        let reader = try vault.openLease(.reader([scene.receipts[0].point]))
        try scene.checkAll(vault)
        vault.closeLease(reader.id)
        let error = #expect(throws: HoldfastError.self) { try scene.open(.change) }
        #expect(error?.code == .noSpace)
    }

    @Test("a backup that died of a full disk stops nobody from reading and deleting")
    func diedOfFullDisk() throws {
        guard let scene = try Scene() else { return }
        do {
            // A writer whose process ends without closing its lease.
            let vault = try scene.open(.fill)
            let writer = try TestWriter(vault, scene.machine, head: scene.receipts[3].storedUpTo)
            try scene.fill()
            let error = #expect(throws: HoldfastError.self) {
                for index in 0..<1_000 {
                    try writer.store([writer.make.data(Array(repeating: UInt8(index & 255), count: 1 << 19))])
                }
            }
            #expect(error?.code == .noSpace)
        }
        let vault = try scene.open(.change)
        try vault.deletePoints([scene.receipts[0].point])
        _ = try vault.reclaim()
        try scene.checkAll(vault)
        #expect(try vault.points(PointQuery()).count == 3)
    }

    @Test("a vault on a medium that is mounted read-only is listed, read and checked", arguments: 0..<4)
    func readOnly(state: Int) throws {
        guard let scene = try Scene() else { return }
        try scene.spoil(state)
        let temporary = try privateCatalogs()
        #expect(scene.disk.remount("ro"))
        do {
            let vault = try scene.open()
            #expect(vault.notes.contains { $0.contains("read-only") })
            #expect(try vault.points(PointQuery()).map(\.id) == scene.receipts.map(\.point))
            let lease = try vault.openLease(.reader(scene.receipts.map(\.point)))
            try scene.checkAll(vault)
            vault.closeLease(lease.id)
            #expect(try vault.verify(VerificationRequest(level: .packs)).isSound)
            for change: () throws -> Void in [
                { try vault.deletePoints([scene.receipts[0].point]) }, { _ = try vault.reclaim() },
                { _ = try TestWriter(vault, scene.machine) },
            ] {
                let error = #expect(throws: HoldfastError.self) { try change() }
                #expect(error?.code == .denied && error?.message.contains("read-only") == true)
            }
            let error = #expect(throws: HoldfastError.self) { try scene.open(.change) }
            #expect(error?.code == .denied)
        }
        #expect(try privateCatalogs() == temporary, "nothing is left behind")
        #expect(scene.disk.remount("rw"))
        #expect(try scene.open(.change).points(PointQuery()).count == 4)
    }

    private func privateCatalogs() throws -> Set<String> {
        Set(
            try FileManager.default.contentsOfDirectory(atPath: "/tmp").filter {
                $0.hasPrefix("holdfast-reading-\(getpid())-")
            })
    }
}
