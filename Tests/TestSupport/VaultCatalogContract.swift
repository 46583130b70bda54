package import Catalog
import GRDB
import Glibc
package import Model
package import Vault

/// A catalog in a temporary directory.
package final class CatalogFixture: Sendable {
    package let path: String
    package let vault = VaultID.random()

    package init() throws {
        var template = Array("/tmp/holdfast-catalog-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw HoldfastError(.io, "no temporary directory") }
        path = String(cString: made)
    }

    deinit {
        for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "catalog.witness"] {
            unlink(path + "/" + name)
        }
        rmdir(path)
    }

    package func open(
        vault: VaultID? = nil, create: Bool = true, journal: SQLiteCatalog.Journal = .log
    ) throws -> SQLiteCatalog {
        try SQLiteCatalog(
            path: path + "/catalog.sqlite", vault: vault ?? self.vault,
            witness: WitnessFile(path: Array((path + "/catalog.witness").utf8)), create: create,
            journal: journal)
    }

    package func read() throws -> [UInt8] {
        try DirectoryStore(path: path).get("catalog.sqlite", atMost: 1 << 30)
    }

    /// Puts back the file of the catalog, without the log of a later one.
    package func write(_ bytes: [UInt8]) throws {
        for name in ["catalog.sqlite-wal", "catalog.sqlite-shm"] { unlink(path + "/" + name) }
        try DirectoryStore(path: path).put("catalog.sqlite", bytes, mode: .replacing)
    }

    package func raiseSchema() throws {
        let queue = try DatabaseQueue(path: path + "/catalog.sqlite")
        try queue.write { try $0.execute(sql: "INSERT INTO migration (number) VALUES (999)") }
        try queue.close()
    }
}

extension VaultFixture {
    /// Runs SQL over the catalog, as a flipped bit would or somebody with an editor.
    package func changeCatalog(_ sql: String) throws {
        let queue = try DatabaseQueue(path: path + "/catalog.sqlite")
        try queue.write { try $0.execute(sql: sql) }
        try queue.close()
    }
}

/// Packs and blobs that exist in a catalog only.
package enum CatalogSamples {
    package static func digest() -> Bytes32 {
        Bytes32(w0: .random(in: 0 ... .max), w1: .random(in: 0 ... .max), w2: .random(in: 0 ... .max), w3: 7)
    }

    package static func blob(
        _ type: BlobType = .data, names: [BlobID] = [], id: BlobID? = nil, offset: UInt64 = 48
    ) -> PackedBlob {
        PackedBlob(
            id: id ?? BlobID(digest()), type: type, encoding: .raw, secretNumber: 1, references: names.sorted(),
            sealedLength: 100, offset: offset)
    }

    package static func pack(_ blobs: [PackedBlob]) -> (entry: PackEntry, blobs: [PackedBlob]) {
        let bytes = 48 + blobs.reduce(0) { $0 + $1.framedLength + 56 } + 32
        return (
            PackEntry(
                name: PackName(digest()), packClass: blobs[0].type.packClass, origin: .random(), bytes: UInt64(bytes),
                blobCount: blobs.count), blobs
        )
    }

    package static func pack(blobs count: Int) -> (entry: PackEntry, blobs: [PackedBlob]) {
        pack((0..<count).map { blob(offset: UInt64(48 + 160 * $0)) })
    }
}

/// What every catalog must do. Each check runs on an empty one.
package enum VaultCatalogContract {
    /// One rule, named by the sentence it checks.
    package struct Check: Sendable, CustomStringConvertible {
        package let description: String
        private let body: @Sendable (any VaultCatalog) throws -> Void

        init(_ description: String, _ body: @escaping @Sendable (any VaultCatalog) throws -> Void) {
            self.description = description
            self.body = body
        }

        package func run(on catalog: any VaultCatalog) throws { try body(catalog) }
    }

    private static func expect(_ condition: Bool, _ what: String) throws {
        try VaultServiceContract.expect(condition, what)
    }

    private static func writer(_ catalog: any VaultCatalog, machine: MachineID = .random()) throws -> LeaseID {
        let lease = LeaseEntry(id: .random(), kind: .writer, machine: machine, opened: Timestamp(seconds: 1))
        _ = try catalog.openLease(lease, pinning: [])
        return lease.id
    }

    /// A collection without points: everything that no live lease was promised goes.
    private static func collect(_ catalog: any VaultCatalog, expand: [BlobID: [BlobID]] = [:]) throws {
        _ = try catalog.beginMarking()
        while try catalog.seedRecentlyMarked(limit: 2) {}
        while true {
            let frontier = try catalog.frontier(limit: 2)
            if frontier.isEmpty { break }
            try catalog.reach(frontier.map { ($0.id, expand[$0.id] ?? []) })
        }
        try expect(try catalog.finishMarking(), "nothing was left to follow")
        while try catalog.sweep(limit: 2) {}
        try catalog.finishCollection()
    }

    package static let checks: [Check] = [
        Check("what was registered is present, under a live lease only") { catalog in
            let lease = try writer(catalog)
            let pack = CatalogSamples.pack(blobs: 5)
            let other = CatalogSamples.blob()
            try catalog.register(pack.entry, blobs: pack.blobs, lease: lease)
            let ids = pack.blobs.map(\.id) + [other.id]
            try expect(try catalog.missing(ids, lease: lease) == [false, false, false, false, false, true], "missing")
            try expect(try catalog.present(ids) == [true, true, true, true, true, false], "present")
            try catalog.closeLeases([lease])
            try VaultServiceContract.expect(.leaseLost) { _ = try catalog.missing(ids, lease: lease) }
        },
        Check("the copies of a blob are those of all packs, in pack order") { catalog in
            let lease = try writer(catalog)
            let blob = CatalogSamples.blob()
            let first = CatalogSamples.pack([blob])
            var again = blob
            again.offset = 500
            let second = CatalogSamples.pack([again])
            try catalog.register(first.entry, blobs: first.blobs, lease: lease)
            try catalog.register(second.entry, blobs: second.blobs, lease: lease)
            let copies = try catalog.copies(of: [blob.id])
            try expect(copies.map(\.packName) == [first.entry.name, second.entry.name], "two copies")
            try expect(copies.map(\.offset) == [48, 500] && copies[0].sealedLength == 100, "where they lie")
        },
        Check("a pack is registered whole or not at all, and again without change") { catalog in
            let lease = try writer(catalog)
            let unknown = CatalogSamples.blob().id
            let data = CatalogSamples.pack(blobs: 2)
            try catalog.register(data.entry, blobs: data.blobs, lease: lease)
            let good = CatalogSamples.blob(.node, names: [data.blobs[0].id])
            let bad = CatalogSamples.blob(.node, names: [data.blobs[1].id, unknown])
            let pack = CatalogSamples.pack([good, bad])
            let error = try VaultServiceContract.expect(.missingBlobs) {
                try catalog.register(pack.entry, blobs: pack.blobs, lease: lease)
            }
            try expect(error.blobs == [unknown], "the list")
            try expect(try catalog.pack(pack.entry.name) == nil, "no pack")
            try expect(try catalog.present([good.id]) == [false], "no blob")
            try catalog.register(data.entry, blobs: data.blobs, lease: lease)
            try expect(try catalog.packs(after: 0, limit: 10).count == 1, "one pack")
            // Found in the store: what names the unknown is known, but not whole.
            try catalog.register(pack.entry, blobs: pack.blobs, lease: nil)
            try expect(try catalog.present([good.id, bad.id]) == [true, false], "incomplete")
            try expect(try catalog.unwellCopies(after: nil, limit: 10).map(\.id) == [bad.id], "unwell")
        },
        Check("damage makes a blob not present until another copy comes") { catalog in
            let lease = try writer(catalog)
            let pack = CatalogSamples.pack(blobs: 1)
            try catalog.register(pack.entry, blobs: pack.blobs, lease: lease)
            let copy = try catalog.copies(of: [pack.blobs[0].id])[0]
            try expect(try catalog.unpropagatedDamage() == 0, "no damage")
            try expect(try catalog.setCondition(.damaged, of: [copy.reference]) == 1, "changed")
            try expect(try catalog.setCondition(.damaged, of: [copy.reference]) == 0, "once")
            try expect(try catalog.unpropagatedDamage() == 1, "to be propagated")
            try expect(try catalog.missing([copy.id], lease: lease) == [true], "missing")
            let again = CatalogSamples.pack(pack.blobs)
            try catalog.register(again.entry, blobs: again.blobs, lease: lease)
            try expect(try catalog.missing([copy.id], lease: lease) == [false], "healed")
        },
        Check("what no live lease was promised goes, and nothing else") { catalog in
            let first = try writer(catalog)
            let old = CatalogSamples.pack(blobs: 3)
            try catalog.register(old.entry, blobs: old.blobs, lease: first)
            try collect(catalog)
            try expect(try catalog.missing(old.blobs.map(\.id), lease: first) == [false, false, false], "promised")
            let second = try writer(catalog)
            try catalog.closeLeases([first])
            // The second writer asks for one of them: that one stays for it.
            try expect(try catalog.missing([old.blobs[1].id], lease: second) == [false], "still there")
            try collect(catalog)
            try expect(
                try catalog.missing(old.blobs.map(\.id), lease: second) == [true, false, true],
                "only what was asked for")
            try catalog.closeLeases([second])
            try collect(catalog)
            try collect(catalog)
            try expect(try catalog.present(old.blobs.map(\.id)) == [false, false, false], "all gone")
        },
        Check("of two copies that are answered for, both stay as long as the lease") { catalog in
            let machine = MachineID.random()
            let first = try writer(catalog, machine: machine)
            let own = CatalogSamples.pack(blobs: 1)
            try catalog.register(own.entry, blobs: own.blobs, lease: first)
            _ = try catalog.beginMarking()
            try catalog.abandonMarking()
            let second = try writer(catalog, machine: machine)
            try catalog.closeLeases([first])
            let stranger = try writer(catalog)
            let others = CatalogSamples.pack(own.blobs)
            try catalog.register(others.entry, blobs: others.blobs, lease: stranger)
            try catalog.closeLeases([stranger])
            // Trusted is the machine's own, older copy.
            try expect(try catalog.presence(of: [own.blobs[0].id], lease: second) == [.present], "its own")
            try collect(catalog)
            try expect(
                try catalog.copies(of: [own.blobs[0].id]).map(\.packName).contains(own.entry.name),
                "the copy that was promised")
        },
        Check("a blob that a writer names while the collection marks takes with it what it names itself") { catalog in
            let first = try writer(catalog)
            let data = CatalogSamples.pack(blobs: 1)
            let child = CatalogSamples.blob(.node, names: [data.blobs[0].id])
            let meta = CatalogSamples.pack([child])
            try catalog.register(data.entry, blobs: data.blobs, lease: first)
            try catalog.register(meta.entry, blobs: meta.blobs, lease: first)
            try catalog.closeLeases([first])
            // Garbage by now; the marking has begun when a writer names the node, and only the node.
            _ = try catalog.beginMarking()
            while try catalog.seedRecentlyMarked(limit: 10) {}
            try expect(try catalog.frontier(limit: 10).isEmpty, "nothing is needed")
            let second = try writer(catalog)
            let parent = CatalogSamples.blob(.node, names: [child.id])
            let more = CatalogSamples.pack([parent])
            try catalog.register(more.entry, blobs: more.blobs, lease: second)
            try expect(try !catalog.finishMarking(), "there is something to follow")
            let names = [child.id: child.references, parent.id: parent.references]
            while true {
                let frontier = try catalog.frontier(limit: 10)
                if frontier.isEmpty { break }
                try catalog.reach(frontier.map { ($0.id, names[$0.id] ?? []) })
            }
            try expect(try catalog.finishMarking(), "followed")
            while try catalog.sweep(limit: 1) {}
            try catalog.finishCollection()
            try expect(
                try catalog.present([parent.id, child.id, data.blobs[0].id]) == [true, true, true],
                "closed under references")
        },
        Check("a condemned pack's name is refused until no lease can still be sending it") { catalog in
            let first = try writer(catalog)
            let pack = CatalogSamples.pack(blobs: 2)
            try catalog.register(pack.entry, blobs: pack.blobs, lease: first)
            let number = try catalog.packs(after: 0, limit: 1)[0].number
            try expect(try !catalog.condemn(number, listing: pack.blobs.map(\.id)), "it is in use")
            try catalog.closeLeases([first])
            try collect(catalog)
            let second = try writer(catalog)
            try expect(try catalog.condemn(number, listing: pack.blobs.map(\.id)), "it is not in use any more")
            try VaultServiceContract.expect(.condemned) {
                try catalog.register(pack.entry, blobs: pack.blobs, lease: second)
            }
            try expect(try catalog.condemnedPacks().map(\.name) == [pack.entry.name], "to be deleted")
            try catalog.packsDeleted([number])
            try expect(try catalog.condemnedPacks().isEmpty, "deleted")
            try VaultServiceContract.expect(.condemned) {
                try catalog.register(pack.entry, blobs: pack.blobs, lease: second)
            }
            try expect(try catalog.condemnedPacks().count == 1, "its object came back and goes again")
            try catalog.packsDeleted([number])
            try catalog.finishCollection()
            try expect(try catalog.pack(pack.entry.name) != nil, "the second writer may still be sending it")
            try catalog.closeLeases([second])
            try catalog.finishCollection()
            try expect(try catalog.pack(pack.entry.name) == nil, "forgotten")
        },
        Check("a removal is numbered above all before it, and names all that is condemned") { catalog in
            let lease = try writer(catalog)
            let pack = CatalogSamples.pack(blobs: 1)
            try catalog.register(pack.entry, blobs: pack.blobs, lease: lease)
            try catalog.closeLeases([lease])
            try expect(try catalog.removals() == 0, "none yet")
            let first = try catalog.announceRemoval(above: 0)
            try expect(first.number == 1 && first.packs.isEmpty, "nothing is condemned")
            try collect(catalog)
            try expect(try catalog.condemn(1, listing: pack.blobs.map(\.id)), "condemned")
            let second = try catalog.announceRemoval(above: 7)
            try expect(second.number == 8 && second.packs.map(\.name) == [pack.entry.name], "above the store's")
            try catalog.renewWitness(removals: 3)
            try expect(try catalog.removals() == 8, "never less")
            try catalog.renewWitness(removals: 20)
            try expect(try catalog.removals() == 20, "as the store says")
        },
        Check("packs are replaced only when every live blob of theirs has another whole copy") { catalog in
            let lease = try writer(catalog)
            let old = CatalogSamples.pack(blobs: 3)
            try catalog.register(old.entry, blobs: old.blobs, lease: lease)
            let known = try catalog.packs(after: 0, limit: 1)[0]
            let number = known.number
            var part = CatalogSamples.pack(Array(old.blobs[..<2]))
            part.entry.origin = known.origin
            let ids = old.blobs.map(\.id)
            try expect(
                try catalog.replacePacks(
                    [(number, ids)], with: part.entry, blobs: part.blobs.map { MovedBlob(blob: $0, source: number) }
                ).isEmpty,
                "one is not copied")
            var rest = CatalogSamples.pack(Array(old.blobs[2...]))
            rest.entry.origin = known.origin
            try expect(
                try catalog.replacePacks(
                    [(number, ids)], with: rest.entry, blobs: rest.blobs.map { MovedBlob(blob: $0, source: number) })
                    == [number], "all are")
            try expect(try catalog.present(ids) == [true, true, true], "all present")
            try expect(try !catalog.copies(of: ids).contains { $0.pack == number }, "the old rows are gone")
        },
        Check("a lost pack's blobs are not present until it is back, and a forgotten one's are gone") { catalog in
            let lease = try writer(catalog)
            let a = CatalogSamples.pack(blobs: 2)
            let b = CatalogSamples.pack(blobs: 2)
            try catalog.register(a.entry, blobs: a.blobs, lease: lease)
            try catalog.register(b.entry, blobs: b.blobs, lease: lease)
            let number = try catalog.packs(after: 0, limit: 1)[0].number
            try catalog.dropPacks([number], forgetting: false)
            try expect(
                try catalog.present((a.blobs + b.blobs).map(\.id)) == [false, false, true, true], "only its own")
            try expect(try catalog.unpropagatedDamage() != 0, "what named them must be looked at")
            try expect(try catalog.statistics().data.packs == 1, "one pack")
            try expect(try catalog.unwellCounts() == (0, 0), "what is lost is not damaged")
            try catalog.register(a.entry, blobs: a.blobs, lease: nil)
            try expect(
                try catalog.present((a.blobs + b.blobs).map(\.id)) == [true, true, true, true], "it is back")
            try catalog.dropPacks([number], forgetting: true)
            try expect(try catalog.copies(of: a.blobs.map(\.id)).isEmpty, "forgotten")
            try expect(try catalog.pack(a.entry.name) == nil, "with its name")
        },
    ]
}

extension VaultCatalog {
    /// Which of the blobs a writer must send.
    package func missing(_ ids: [BlobID], lease: LeaseID) throws -> [Bool] {
        try presence(of: ids, lease: lease).map { $0 == .missing }
    }
}
