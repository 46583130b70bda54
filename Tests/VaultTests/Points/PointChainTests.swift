import Glibc
import Model
import TestSupport
import Testing

@testable import Vault

@Suite struct PointChainTests {
    /// A chain of locators of one incarnation.
    private func chain(
        _ count: Int,
        incarnation: IncarnationID = KeysFixture.incarnation,
        from first: UInt64 = 1,
        after previous: LocatorHash = .none
    ) -> [PointLocator] {
        var result: [PointLocator] = []
        var previous = previous
        for index in 0..<count {
            let number = first + UInt64(index)
            let locator = PointLocator(
                vault: KeysFixture.vault, machine: KeysFixture.machine, incarnation: incarnation, point: .random(),
                number: number, time: Timestamp(seconds: Int64(number)), kind: .manual, flags: [], previous: previous,
                references: [])
            result.append(locator)
            previous = locator.hash
        }
        return result
    }

    private func check(_ locators: [PointLocator], head: MachineHead? = nil) -> [PointChain.Finding] {
        PointChain.check(locators.map { PointChain.Link($0) }, head: head)
    }

    @Test("A whole chain has no findings, in whatever order it is given and with points twice")
    func whole() {
        let points = chain(20)
        #expect(check([]).isEmpty)
        #expect(check(points).isEmpty)
        #expect(check(points.reversed() + points, head: MachineHead(after: points[19])).isEmpty)
        let second = chain(3, incarnation: .random())
        #expect(check(points + second, head: MachineHead(after: second[2])).isEmpty)
    }

    @Test("Deleted points leave gaps, which are no faults")
    func gaps() {
        let points = chain(10)
        let findings = check([points[3], points[4], points[8]])
        #expect(
            findings == [
                .absent(KeysFixture.incarnation, 1...3), .absent(KeysFixture.incarnation, 6...8),
            ])
        #expect(!findings.contains { $0.isFault })
        // A machine may have newer points than it remembers: it was reverted. The lease tells it, not this check.
        #expect(check(points, head: MachineHead(after: points[5])).isEmpty)
    }

    @Test("A missing tail shows against what the machine remembers")
    func missingTail() {
        let points = chain(10)
        let head = MachineHead(after: points[9])
        #expect(check(Array(points[..<7]), head: head) == [.missingTail(KeysFixture.incarnation, 8...10)])
        #expect(check([], head: head) == [.missingTail(KeysFixture.incarnation, 1...10)])
        let other = chain(2, incarnation: .random())
        #expect(check(other, head: head) == [.missingTail(KeysFixture.incarnation, 1...10)])
    }

    @Test("A point exchanged in the middle, at the end or beside another is found")
    func forged() {
        let points = chain(10)
        let forged = chain(1, from: 5, after: points[3].hash)[0]
        var exchanged = points
        exchanged[4] = forged
        #expect(
            check(exchanged) == [.brokenLink(KeysFixture.incarnation, 6, points[5].point)])
        let beside = check(points + [forged])
        #expect(beside.count == 1)
        if case .conflict(_, 5, _, _) = beside.first {} else { Issue.record("a conflict at 5 expected: \(beside)") }
        let last = chain(1, from: 10, after: points[8].hash)[0]
        #expect(
            check(Array(points[..<9]) + [last], head: MachineHead(after: points[9]))
                == [.differentHead(KeysFixture.incarnation, 10, last.point)])
        let stray = chain(1, from: 5, after: LocatorHash(KeysFixture.digest(1)))[0]
        let found = check(points + [stray])
        #expect(found.contains(.brokenLink(KeysFixture.incarnation, 5, stray.point)) || found.count == 2)
        #expect(found.allSatisfy { $0.isFault })
    }

    @Test("A chain that does not begin with its first point is found")
    func wrongStart() {
        let first = chain(1, after: LocatorHash(KeysFixture.digest(1)))[0]
        #expect(check([first]) == [.wrongStart(KeysFixture.incarnation, 1, first.point)])
        let later = chain(1, from: 4)[0]
        #expect(
            check([later]) == [
                .absent(KeysFixture.incarnation, 1...3), .wrongStart(KeysFixture.incarnation, 4, later.point),
            ])
    }

    @Test("Findings name numbers and points for a person")
    func descriptions() {
        let findings: [PointChain.Finding] = [
            .absent(.random(), 1...2), .conflict(.random(), 1, .random(), .random()),
            .brokenLink(.random(), 2, .random()),
            .wrongStart(.random(), 1, .random()), .wrongStart(.random(), 2, .random()), .missingTail(.random(), 3...3),
            .differentHead(.random(), 2, .random()),
        ]
        #expect(Set(findings.map(\.description)).count == findings.count)
    }

    @Test("Ten thousand conflicting points are checked in little time")
    func hostile() {
        let links = (0..<10_000).map { index in
            PointChain.Link(
                incarnation: KeysFixture.incarnation, number: UInt64(index % 100 + 1), point: .random(),
                hash: LocatorHash(Bytes32(w0: UInt64(index), w1: 1, w2: 1, w3: 1)),
                previous: LocatorHash(Bytes32(w0: UInt64(index), w1: 2, w2: 1, w3: 1)))
        }
        // Of this thread: whatever else runs beside takes nothing away. Going through all pairs would take minutes.
        let before = threadSeconds()
        #expect(!PointChain.check(links).isEmpty)
        #expect(threadSeconds() - before < 20)
    }

    private func threadSeconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec
    }

    @Test("The vault takes the next point of a chain and the first of a new incarnation, and nothing else")
    func append() throws {
        let points = chain(3)
        let head = MachineHead(after: points[1])
        try PointChain.checkAppend(points[2], head: head, isNewIncarnation: false)
        try PointChain.checkAppend(points[0], head: nil, isNewIncarnation: true)
        let fresh = chain(2, incarnation: .random())
        try PointChain.checkAppend(fresh[0], head: head, isNewIncarnation: true)
        let refused: [(PointLocator, MachineHead?, Bool)] = [
            (points[1], head, false), (points[0], head, false), (fresh[1], head, true), (fresh[0], head, false),
            (points[2], nil, true), (chain(1, from: 3)[0], head, false),
            (chain(1, after: LocatorHash(KeysFixture.digest(1)))[0], nil, true),
        ]
        for (locator, head, isNew) in refused {
            let error = try #require(throws: HoldfastError.self) {
                try PointChain.checkAppend(locator, head: head, isNewIncarnation: isNew)
            }
            #expect(error.code == .forbidden)
        }
    }

    @Test("A head is read back from its file")
    func heads() throws {
        let head = MachineHead(after: chain(1)[0])
        #expect(try MachineHead.decode(head.encoded(), document: "x") == head)
        var generator = FuzzGenerator(seed: 1)
        for _ in 0..<500 { _ = try? MachineHead.decode(generator.mutation(of: head.encoded()), document: "x") }
        let newer = String(decoding: head.encoded(), as: UTF8.self).replacing("\"version\":1", with: "\"version\":2")
        let error = try #require(throws: HoldfastError.self) {
            try MachineHead.decode(Array(newer.utf8), document: "heads/x.json")
        }
        #expect(error.code == .unsupported)
    }
}

@Suite struct EffectiveTimeTests {
    private func times(_ points: [(Int64, Int64)], now: Int64) -> [Int64] {
        EffectiveTime.of(
            points.map { (Timestamp(nanoseconds: $0.0), Timestamp(nanoseconds: $0.1)) },
            now: Timestamp(nanoseconds: now)
        ).map(\.nanoseconds)
    }

    @Test("With sound clocks a point's own time counts")
    func sound() {
        #expect(times([], now: 100) == [])
        #expect(times([(10, 11), (20, 25), (30, 31)], now: 100) == [10, 20, 30])
    }

    @Test(
        "A machine whose clock is ahead counts by the vault's clock, and one whose clock goes back by the point before")
    func machineClock() {
        #expect(times([(10, 11), (9_000, 21), (9_001, 31), (40, 41)], now: 100) == [10, 21, 31, 40])
        #expect(times([(10, 11), (3, 21), (-500, 31), (40, 41)], now: 100) == [10, 10, 10, 40])
    }

    @Test("What a machine with a dead clock stores counts by its arrival, and not all as its last sound point")
    func deadClock() {
        let day: Int64 = 86_400_000_000_000
        let start = 20_000 * day
        // A week without a battery, a point a day, then the clock is set.
        var points: [(Int64, Int64)] = [(start, start + 1)]
        for number in 1...7 { points.append((Int64(number) * 1_000, start + Int64(number) * day)) }
        points.append((start + 8 * day, start + 8 * day + 1))
        #expect(
            times(points, now: start + 9 * day)
                == [start] + (1...7).map { start + $0 * day } + [start + 8 * day])
        // Put back by an hour: believed, and the order holds.
        #expect(times([(start, start), (start - day / 24, start + 5)], now: start + day) == [start, start])
    }

    @Test("The vault's clock going back for a while does not make new points look old")
    func vaultClockBack() {
        #expect(times([(10, 11), (20, 21), (1, 2), (30, 31)], now: 100) == [10, 20, 20, 30])
    }

    @Test("The vault's clock being ahead for a while does not bend the times of later points")
    func vaultClockAhead() {
        #expect(times([(10, 11), (900, 901), (902, 903), (30, 31), (40, 41)], now: 100) == [10, 30, 30, 30, 40])
        #expect(times([(10, 11), (900, 901)], now: 100) == [10, 100])
    }

    @Test("Times never decrease, whatever the clocks say", arguments: [1, 2, 3] as [UInt64])
    func monotonic(seed: UInt64) {
        var generator = FuzzGenerator(seed: seed)
        for _ in 0..<500 {
            let points = (0..<Int.random(in: 0..<30, using: &generator)).map { _ in
                (Int64.random(in: -50...150, using: &generator), Int64.random(in: -50...150, using: &generator))
            }
            let result = times(points, now: 100)
            #expect(result.count == points.count)
            #expect(result == result.sorted(), "seed \(seed): \(points)")
            #expect(result.allSatisfy { $0 <= 100 }, "seed \(seed): \(points)")
        }
        #expect(times([(.min, .max), (.max, .min)], now: 0) == [.min, .min])
    }
}
