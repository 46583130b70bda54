import Model
package import Vault

/// What every implementation of `VaultService` must do. A test suite runs each check on a fresh vault:
///
/// ```
/// @Test(arguments: VaultServiceContract.checks)
/// func contract(check: VaultServiceContract.Check) throws { try check.run(on: ...) }
/// ```
package enum VaultServiceContract {
    package struct Violation: Error, CustomStringConvertible {
        package let description: String
    }

    /// One rule, named by the sentence it checks.
    package struct Check: Sendable, CustomStringConvertible {
        package let description: String
        private let body: @Sendable (any VaultService, TestMachine) throws -> Void

        init(_ description: String, _ body: @escaping @Sendable (any VaultService, TestMachine) throws -> Void) {
            self.description = description
            self.body = body
        }

        /// Runs the check. `machine` must have joined the vault, which must be empty otherwise.
        package func run(on service: any VaultService, machine: TestMachine) throws { try body(service, machine) }
    }

    static func expect(_ condition: Bool, _ what: String) throws {
        if !condition { throw Violation(description: what) }
    }

    /// Expects `body` to throw the code; answers the error.
    @discardableResult
    static func expect(_ code: HoldfastError.Code, _ body: () throws -> Void) throws -> HoldfastError {
        do { try body() } catch let error as HoldfastError {
            try expect(error.code == code, "expected \(code), got \(error.code): \(error.message)")
            return error
        }
        throw Violation(description: "expected \(code), got no error")
    }

    package static let checks: [Check] = [
        Check("what was stored is present and can be read; what was not is missing") { service, machine in
            let writer = try TestWriter(service, machine)
            let blobs = (0..<50).map { writer.make.data("content \($0)") }
            try expect(try writer.missing(blobs) == Array(repeating: true, count: 50), "nothing is there yet")
            try writer.store(Array(blobs[..<30]))
            let missing = try writer.missing(blobs)
            try expect(missing == (0..<50).map { $0 >= 30 }, "the first 30 are present")
            var read: Set<BlobID> = []
            let opener = BlobOpener()
            try service.read(blobs[..<30].map(\.id)) { id, framed in
                guard let blob = blobs.first(where: { $0.id == id }) else { throw Violation(description: "unasked") }
                try opener.open(framed, key: blob.key, expecting: .data) {
                    try expect($0.elementsEqual(blob.plain), "the contents are those that were stored")
                }
                try expect(read.insert(id).inserted, "each blob once")
            }
            try expect(read.count == 30, "all blobs")
        },
        Check("reading what does not exist names it, after everything else was handed over") { service, machine in
            let writer = try TestWriter(service, machine)
            let blobs = [writer.make.data("a"), writer.make.data("b")]
            try writer.store([blobs[0]])
            var seen: [BlobID] = []
            let error = try expect(.damaged) { try service.read(blobs.map(\.id)) { id, _ in seen.append(id) } }
            try expect(seen == [blobs[0].id], "the one that exists was read")
            try expect(error.blobs == [blobs[1].id], "the one that does not is named")
        },
        Check("a pack that names something unknown is refused whole, with the list") { service, machine in
            let writer = try TestWriter(service, machine)
            let known = writer.make.data("known")
            let unknown = writer.make.data("unknown")
            try writer.store([known])
            let good = writer.make.node("good", [known.id])
            let bad = writer.make.node("bad", [known.id, unknown.id])
            let error = try expect(.missingBlobs) { try writer.store([good, bad]) }
            try expect(error.blobs == [unknown.id], "the unknown one is named")
            try expect(try writer.missing([good, bad]) == [true, true], "nothing of the pack is registered")
            try writer.store([unknown])
            try writer.store([good, bad])
            try expect(try writer.missing([good, bad]) == [false, false], "now both are")
        },
        Check("a pack may name its own blobs, children first; a blob cannot name itself or a later one") {
            service, machine in
            let writer = try TestWriter(service, machine)
            let data = writer.make.data("x")
            try writer.store([data])
            let child = writer.make.node("child", [data.id])
            let parent = writer.make.node("parent", [child.id])
            try expect(.missingBlobs) { try writer.store([parent, child]) }
            try writer.store([child, parent])
        },
        Check("storing a pack again is fine") { service, machine in
            let writer = try TestWriter(service, machine)
            let pack = try writer.make.pack([writer.make.data("again")])
            try service.store(pack, lease: writer.lease.id)
            try service.store(pack, lease: writer.lease.id)
        },
        Check("a point is listed after its commit, with number, chain and references") { service, machine in
            let writer = try TestWriter(service, machine)
            try expect(writer.lease.isNewIncarnation && writer.lease.next.number == 1, "a new machine begins at 1")
            let first = try writer.backup(["a", "b"], salt: "1")
            let second = try writer.backup(["a", "c"], salt: "2")
            try expect(first.storedUpTo.number == 1 && second.storedUpTo.number == 2, "numbers are dense")
            let points = try service.points(PointQuery(machine: machine.id))
            try expect(points.map(\.id) == [first.point, second.point], "oldest first")
            try expect(points[1].previous == points[0].hash, "each names the one before")
            try expect(points.allSatisfy { $0.condition == .whole && !$0.isPartial }, "whole")
            try expect(try service.points(PointQuery(newest: 1)).map(\.id) == [second.point], "newest")
            try expect(try service.points(PointQuery(ids: [first.point])).map(\.id) == [first.point], "by id")
            try expect(try service.point(first.point).locator.number == 1, "the whole point")
            try expect(.notFound) { _ = try service.point(.random()) }
            try expect(try wholeness(of: points[1].references, in: service).count == 3, "everything can be read")
        },
        Check("committing a point again answers the same") { service, machine in
            let writer = try TestWriter(service, machine)
            let root = writer.make.node("root", [])
            try writer.store([root])
            let point = try writer.point(root: root)
            let first = try writer.commit(point)
            try expect(try service.commit(point, lease: writer.lease.id) == first, "the same receipt")
            try expect(try service.points(PointQuery()).count == 1, "one point")
        },
        Check("a point whose root is not there is refused with the list") { service, machine in
            let writer = try TestWriter(service, machine)
            let root = writer.make.node("root", [])
            let error = try expect(.missingBlobs) { try writer.commit(writer.point(root: root)) }
            try expect(error.blobs == [root.id], "the root is named")
            try expect(try service.points(PointQuery()).isEmpty, "nothing is visible")
        },
        Check("a point must follow the incarnation's head") { service, machine in
            let writer = try TestWriter(service, machine)
            try writer.backup(["a"], salt: "1")
            let root = writer.make.node("root", [])
            try writer.store([root])
            var position = writer.position
            position.number += 1
            try expect(.headMoved) {
                _ = try service.commit(try writer.point(root: root, position: position), lease: writer.lease.id)
            }
            position.number -= 2
            try expect(.headMoved) {
                _ = try service.commit(try writer.point(root: root, position: position), lease: writer.lease.id)
            }
            position = writer.position
            position.previous = .none
            try expect(.headMoved) {
                _ = try service.commit(try writer.point(root: root, position: position), lease: writer.lease.id)
            }
            try writer.commit(writer.point(root: root))
        },
        Check("a remembered head goes on; any other begins a new incarnation") { service, machine in
            let writer = try TestWriter(service, machine)
            let one = try writer.backup(["a"], salt: "1")
            let two = try writer.backup(["b"], salt: "2")
            writer.close()
            let next = try TestWriter(service, machine, head: two.storedUpTo)
            try expect(!next.lease.isNewIncarnation, "the same history")
            try expect(next.lease.head == two.storedUpTo, "the vault's head")
            try expect(next.position.number == 3 && next.position.previous == two.storedUpTo.hash, "number 3")
            let reverted = try TestWriter(service, machine, head: one.storedUpTo)
            try expect(reverted.lease.isNewIncarnation && reverted.position.number == 1, "a new history")
            try expect(reverted.position.incarnation != two.storedUpTo.incarnation, "of its own")
            try reverted.backup(["c"], salt: "3")
            try next.backup(["d"], salt: "4")
            try expect(try service.points(PointQuery()).count == 4, "both histories go on")
        },
        Check("of two writers with the same head the second is told that the head moved") { service, machine in
            let first = try TestWriter(service, machine)
            let head = try first.backup(["a"], salt: "1").storedUpTo
            let a = try TestWriter(service, machine, head: head)
            let b = try TestWriter(service, machine, head: head)
            try a.backup(["b"], salt: "2")
            try expect(.headMoved) { try b.backup(["c"], salt: "3") }
        },
        Check("only machines that have joined get a lease, and only with their signature a point") { service, machine in
            try expect(.denied) { _ = try service.openLease(.writer(machine: .random())) }
            let writer = try TestWriter(service, machine)
            let root = writer.make.node("root", [])
            try writer.store([root])
            try expect(.denied) { try writer.commit(writer.point(root: root, signing: .random())) }
            try expect(try service.points(PointQuery()).isEmpty, "nothing is visible")
        },
        Check("without a lease nothing is answered or stored") { service, machine in
            let writer = try TestWriter(service, machine)
            let root = writer.make.node("root", [])
            try writer.store([root])
            writer.close()
            writer.close()
            try expect(.leaseLost) { _ = try writer.missing([root]) }
            try expect(.leaseLost) { try writer.store([writer.make.data("x")]) }
            try expect(.leaseLost) { try writer.commit(writer.point(root: root)) }
        },
        Check("a point brings small packs along: all of it is there, or nothing is visible; again is fine") {
            service, machine in
            let writer = try TestWriter(service, machine)
            let data = writer.make.data("x"), root = writer.make.node("root", [data.id])
            let packs = [try writer.make.pack([data]), try writer.make.pack([root])]
            let point = try writer.point(root: root)
            try expect(.missingBlobs) {
                _ = try service.commit(point, with: [packs[1]], lease: writer.lease.id)
            }
            try expect(try service.points(PointQuery()).isEmpty, "nothing is visible")
            let receipt = try service.commit(point, with: packs, lease: writer.lease.id)
            try expect(try wholeness(of: [root.id], in: service) == [root.id, data.id], "whole")
            try expect(try service.commit(point, with: packs, lease: writer.lease.id) == receipt, "the same answer")
            let position = PointPosition(
                incarnation: receipt.storedUpTo.incarnation, number: 2, previous: receipt.storedUpTo.hash)
            let next = try writer.point(root: root, position: position)
            writer.close()
            try expect(.leaseLost) { _ = try service.commit(next, with: packs, lease: writer.lease.id) }
            try expect(try service.points(PointQuery()).count == 1, "one point")
        },
        Check("too many ids at once are refused") { service, machine in
            let writer = try TestWriter(service, machine)
            let ids = (0...UInt64(VaultLimits.missingBatch)).map { BlobID(Bytes32(w0: $0, w1: 0, w2: 0, w3: 0)) }
            try expect(.usage) { _ = try service.missing(ids, lease: writer.lease.id) }
            try expect(try service.missing(Array(ids.dropLast()), lease: writer.lease.id).allSatisfy(\.self), "missing")
        },
        Check("a base that is whole is available, one that is unknown is not") { service, machine in
            let writer = try TestWriter(service, machine)
            let receipt = try writer.backup(["a"])
            let lease = try service.openLease(
                .writer(machine: machine.id, head: receipt.storedUpTo, base: receipt.point))
            try expect(lease.baseAvailable && lease.damaged.isEmpty, "available")
            let other = try service.openLease(.writer(machine: machine.id, head: nil, base: .random()))
            try expect(!other.baseAvailable, "not available")
        },
        Check("a reader of a point that does not exist is told") { service, machine in
            try expect(.notFound) { _ = try service.openLease(.reader([.random()])) }
            let lease = try service.openLease(.reader())
            service.closeLease(lease.id)
        },
    ]
}
