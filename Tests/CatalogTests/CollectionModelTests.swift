import Catalog
import Model
import TestSupport
import Testing
import Vault

/// Writers, readers, killed processes, deletions and collections in random order, against a model that knows only which
/// points were acknowledged and not deleted.
@Suite("Collection beside writers")
struct CollectionModelTests {
    @Test(
        "every acknowledged point stays whole and everything else goes, whatever runs beside the collection",
        arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func random(seed: UInt64) throws {
        var model = try CollectionModel(seed: seed)
        try model.run(steps: 120)
    }
}

/// One writer in a process of its own.
private final class ModelWriter {
    let vault: LocalVault
    let writer: TestWriter
    /// What this writer may rely on: stored or answered as present under its lease, with all that it names.
    var data: [TestBlob] = []
    var nodes: [TestBlob] = []
    let machine: Int

    init(vault: LocalVault, writer: TestWriter, machine: Int) {
        self.vault = vault
        self.writer = writer
        self.machine = machine
    }
}

private struct CollectionModel {
    struct Stopped: Error {}

    let seed: UInt64
    let fixture: VaultFixture
    let vault: LocalVault
    var machines: [TestMachine] = []
    var heads: [Int: MachineHead] = [:]
    var writers: [ModelWriter] = []
    var readers: [(lease: LeaseID, references: [BlobID])] = []
    /// Acknowledged points and what they name, directly.
    var points: [PointID: [BlobID]] = [:]
    var everything: Set<BlobID> = []
    var allNodes: [TestBlob] = []
    var random: SplitMix
    var salt = 0
    var log: [String] = []

    init(seed: UInt64) throws {
        self.seed = seed
        random = SplitMix(state: seed)
        fixture = try VaultFixture()
        vault = try fixture.open()
        for _ in 0..<3 { machines.append(try fixture.join(vault)) }
    }

    mutating func run(steps: Int) throws {
        do {
            for _ in 0..<steps {
                if random.below(10) == 0 { try collect() } else { try step() }
            }
            try finish()
        } catch {
            Issue.record("seed \(seed): \(error)\n\(log.suffix(40).joined(separator: "\n"))")
        }
    }

    // MARK: Steps

    mutating func step() throws {
        switch random.below(14) {
        case 0, 1: try startWriter()
        case 2, 3, 4: try sendData()
        case 5, 6, 7: try sendNode()
        case 8, 9, 10: try commit()
        case 11: try endWriter()
        case 12: try deletePoint()
        default: try startOrEndReader()
        }
    }

    mutating func startWriter() throws {
        guard writers.count < 4 else { return }
        let machine = random.below(machines.count)
        let head = random.below(5) == 0 ? nil : heads[machine]
        let process = try fixture.open()
        let writer = try TestWriter(process, machines[machine], head: head)
        writers.append(ModelWriter(vault: process, writer: writer, machine: machine))
        log.append("writer \(writer.lease.id.hex.prefix(4)) of \(machine) at \(writer.lease.generation)")
    }

    mutating func sendData() throws {
        guard let writer = pick(writers) else { return }
        let blobs = Set((0..<(1 + random.below(6))).map { _ in random.below(40) }).map {
            writer.writer.make.data("d\($0)")
        }
        everything.formUnion(blobs.map(\.id))
        try writer.writer.send(blobs)
        writer.data += blobs
        log.append("data \(blobs.map { $0.id.hex.prefix(4) }) by \(writer.writer.lease.id.hex.prefix(4))")
    }

    mutating func sendNode() throws {
        guard let writer = pick(writers), !writer.data.isEmpty else { return }
        var names = (0..<(1 + random.below(4))).map { _ in writer.data[random.below(writer.data.count)].id }
        if let node = pick(writer.nodes) { names.append(node.id) }
        // Somebody's node of before, perhaps garbage by now: if the vault answers that it is present, it may be named.
        if let old = pick(allNodes), try writer.writer.missing([old]) == [false] { names.append(old.id) }
        // Few salts, so that writers make the same nodes.
        let node = writer.writer.make.node("n\(random.below(6))", names)
        everything.insert(node.id)
        try writer.writer.store([node])
        writer.nodes.append(node)
        allNodes.append(node)
        log.append("node \(node.id.hex.prefix(4)) by \(writer.writer.lease.id.hex.prefix(4))")
    }

    mutating func commit() throws {
        guard let writer = pick(writers), let root = pick(writer.nodes) else { return }
        let point = try writer.writer.point(root: root)
        do {
            let receipt = try writer.writer.commit(point)
            points[receipt.point] = [root.id]
            heads[writer.machine] = receipt.storedUpTo
            log.append("point \(receipt.point.hex.prefix(4)) -> \(root.id.hex.prefix(4))")
        } catch let error as HoldfastError where error.code == .headMoved {
            writers.removeAll { $0 === writer }
            writer.writer.close()
        }
    }

    /// Closes a writer, or kills its process.
    mutating func endWriter() throws {
        guard let writer = pick(writers) else { return }
        writers.removeAll { $0 === writer }
        if random.below(2) == 0 { writer.writer.close() }
        log.append("end \(writer.writer.lease.id.hex.prefix(4))")
    }

    mutating func deletePoint() throws {
        guard let id = pick(points.keys.sorted()) else { return }
        do {
            try vault.deletePoints([id])
            points[id] = nil
            log.append("deleted \(id.hex.prefix(4))")
        } catch let error as HoldfastError where error.code == .forbidden || error.code == .busy {}
    }

    mutating func startOrEndReader() throws {
        if readers.count < 2, let id = pick(points.keys.sorted()), let references = points[id] {
            let lease = try vault.openLease(.reader([id]))
            readers.append((lease.id, references))
        } else if !readers.isEmpty {
            let reader = readers.removeFirst()
            _ = try wholeness(of: reader.references, in: vault)
            vault.closeLease(reader.lease)
        }
    }

    // MARK: Collection

    mutating func collect() throws {
        let isStopped = random.below(4) == 0
        let stopAfter = random.below(12)
        log.append("collection \(isStopped ? "stopped after \(stopAfter)" : "")")
        // Between any two steps of the collector others work. A box, because the collector's closure is sendable.
        let box = ModelBox(self)
        var options = CollectionOptions()
        options.checkpoint = {
            try box.with { model, count in
                count += 1
                if isStopped, count > stopAfter { throw Stopped() }
                for _ in 0..<model.random.below(3) { try model.step() }
            }
        }
        do {
            _ = try vault.reclaim(options: options)
        } catch is Stopped {
            box.with { model, _ in model.log.append("stopped") }
        }
        self = box.model
        try checkPoints()
    }

    func checkPoints() throws {
        for (id, references) in points {
            do { _ = try wholeness(of: references, in: vault) } catch {
                Issue.record(
                    "seed \(seed): point \(id.hex.prefix(4)) is not whole: \(error)\n\(log.suffix(60).joined(separator: "\n"))"
                )
                throw error
            }
        }
        for reader in readers { _ = try wholeness(of: reader.references, in: vault) }
    }

    mutating func finish() throws {
        for writer in writers { writer.writer.close() }
        writers = []
        for reader in readers { vault.closeLease(reader.lease) }
        readers = []
        try collectQuietly()
        try collectQuietly()
        var live: Set<BlobID> = []
        for references in points.values { live.formUnion(try wholeness(of: references, in: vault)) }
        let all = everything.sorted()
        let present = Set(zip(all, try vault.catalog.present(all)).filter(\.1).map(\.0))
        #expect(present == live, "seed \(seed): \(present.count) present, \(live.count) needed")
        #expect(try vault.catalog.unwellCounts() == (0, 0))
        // What is in the store is what the catalog knows, and a rebuild finds the same points.
        let known = Set(try vault.catalog.packs(after: 0, limit: 100_000).filter { $0.state == .stored }.map(\.name))
        #expect(try fixture.packs() == known, "seed \(seed)")
        #expect(Set(try vault.points(PointQuery()).map(\.id)) == Set(points.keys))
    }

    private func collectQuietly() throws {
        _ = try vault.reclaim()
        try checkPoints()
    }

    mutating func pick<T>(_ list: [T]) -> T? { list.isEmpty ? nil : list[random.below(list.count)] }
}

/// Lends the model to the collector's closure; all on one thread.
private final class ModelBox: @unchecked Sendable {
    var model: CollectionModel
    private var count = 0
    init(_ model: CollectionModel) { self.model = model }
    func with<R>(_ body: (inout CollectionModel, inout Int) throws -> R) rethrows -> R { try body(&model, &count) }
}

private struct SplitMix {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
