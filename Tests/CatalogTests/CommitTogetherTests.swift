import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Catalog
@testable import Vault

/// Points of many machines that come at the same time are stored together, and answered each for itself.
@Suite("Commits of many at once")
struct CommitTogetherTests {
    @Test(
        "each of many machines gets its own answer: chains are dense, what is refused harms nobody and leaves nothing")
    func together() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machines = try (0..<12).map { try fixture.join(vault, name: "m\($0)") }
        let refused = Mutex<[HoldfastError.Code: Int]>([:])
        let unseen = Mutex<[BlobID]>([])
        let rounds = 12
        try runThreads(machines.count, name: "agent") { number in
            let writer = try TestWriter(vault, machines[number])
            func refuse(_ body: () throws -> Void) throws {
                do {
                    try body()
                    refused.withLock { $0[.internalError, default: 0] += 1 }
                } catch let error as HoldfastError { refused.withLock { $0[error.code, default: 0] += 1 } }
            }
            for round in 0..<rounds {
                let data = writer.make.data("\(number) \(round)")
                let root = writer.make.node("\(number) \(round)", [data.id])
                let packs = [try writer.make.pack([data]), try writer.make.pack([root])]
                switch (number + round) % 6 {
                case 1:
                    // Names what is not there; what came before in the same request is not registered either.
                    let lost = writer.make.node("lost", [BlobID(Bytes32(w0: UInt64(round), w1: 7, w2: 7, w3: 7))])
                    let extra = writer.make.data("extra \(number) \(round)")
                    unseen.withLock { $0.append(extra.id) }
                    try refuse {
                        _ = try vault.commit(
                            try writer.point(root: lost), with: [writer.make.pack([extra]), writer.make.pack([lost])],
                            lease: writer.lease.id)
                    }
                case 2:
                    try refuse { _ = try vault.commit(try writer.point(root: root), with: packs, lease: .random()) }
                case 3:
                    let wrong = PointPosition(
                        incarnation: writer.position.incarnation, number: writer.position.number + 1,
                        previous: writer.position.previous)
                    try refuse {
                        _ = try vault.commit(
                            try writer.point(root: root, position: wrong), with: packs, lease: writer.lease.id)
                    }
                default: break
                }
                let point = try writer.point(root: root)
                try writer.commit(point, with: packs)
                // An answer that was lost is asked for again.
                if round % 4 == 0 {
                    let again = try vault.commit(point, with: packs, lease: writer.lease.id)
                    #expect(again.point == point.locator.point)
                }
            }
            writer.close()
        }
        #expect(refused.withLock { $0[.internalError] } == nil)
        #expect(refused.withLock { Set($0.keys) } == [.missingBlobs, .leaseLost, .headMoved])
        for machine in machines {
            let points = try vault.points(PointQuery(machine: machine.id))
            #expect(points.map(\.number).sorted() == Array(1...UInt64(rounds)))
            #expect(points.allSatisfy { $0.condition == .whole })
            #expect(try !wholeness(of: points.flatMap(\.references), in: vault).isEmpty)
        }
        #expect(try vault.catalog.present(unseen.withLock { $0 }).allSatisfy { !$0 })

        // The store is the truth: what was acknowledged is there again without the catalog.
        #expect(try vault.catalog.statistics().points == machines.count * rounds)
        let copy = try VaultFixture.copy(of: fixture)
        #expect(try copy.rebuild().points == machines.count * rounds)
        let again = try copy.open()
        for machine in machines {
            #expect(try again.points(PointQuery(machine: machine.id)).count == rounds)
        }
    }

    @Test("who comes while work is done is done together; an error of the work is everybody's, and does not end it")
    func grouping() throws {
        let group = CommitGroup<Int, Int>(limit: 8)
        let sizes = Mutex<[Int]>([])
        let keys = Mutex<Set<UInt64>>([])
        let answers = Mutex<[Int: Int]>([:])
        struct Broken: Error {}
        let broken = Atomic<Int>(0)
        try runThreads(32, name: "group") { number in
            for round in 0..<20 {
                let value = number * 100 + round
                do {
                    // Four threads share a key.
                    let answer = try group.run(value, key: UInt64(number / 4)) { batch in
                        sizes.withLock { $0.append(batch.count) }
                        let all = batch.map { UInt64($0 / 400) }
                        #expect(Set(all).count == all.count, "of one key one at a time")
                        #expect(keys.withLock { $0.isEmpty }, "one batch at a time")
                        keys.withLock { $0 = Set(all) }
                        SystemClock.pause(milliseconds: 1)
                        keys.withLock { $0 = [] }
                        if batch.contains(1_705) { throw Broken() }
                        return batch.map { .success($0 * 2) }
                    }
                    answers.withLock { $0[value] = answer }
                } catch is Broken { broken.add(1, ordering: .relaxed) }
            }
        }
        let all = answers.withLock { $0 }
        #expect(all.allSatisfy { $0.value == $0.key * 2 })
        #expect(all.count + broken.load(ordering: .relaxed) == 640 && all[1_705] == nil)
        #expect(sizes.withLock { $0.max() ?? 0 } > 1 && sizes.withLock { $0.allSatisfy { $0 <= 8 } })
    }
}
