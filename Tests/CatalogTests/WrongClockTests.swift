import Catalog
import Model
import Synchronization
import TestSupport
import Testing
import Vault

/// Clocks that are ahead, behind, or out of the range of time.
@Suite("A vault whose clock is wrong")
struct WrongClockTests {
    private final class Clock: Sendable {
        private let time: Mutex<Timestamp>
        init(_ seconds: Int64) { time = Mutex(Timestamp(seconds: seconds)) }
        var now: Timestamp { time.withLock { $0 } }
        func set(_ seconds: Int64) { time.withLock { $0 = Timestamp(seconds: seconds) } }
    }

    private static let start: Int64 = 1_790_000_000

    @Test("a hold keeps a point by any of its times, whatever the clock says now")
    func holds() throws {
        let fixture = try VaultFixture()
        let clock = Clock(Self.start)
        let vault = try fixture.open { $0.clock = { clock.now } }
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        var receipts: [CommitReceipt] = []
        for day in 0..<3 {
            clock.set(Self.start + Int64(day) * 86_400)
            let root = writer.make.node("\(day)", [])
            try writer.store([root])
            receipts.append(try writer.commit(writer.point(root: root, time: clock.now)))
        }
        writer.close()
        // The middle day alone, as `points hold` places it.
        let arrival = receipts[1].arrival
        try vault.add(
            HoldRecord(
                HoldRecord.Content(
                    hold: .random(), placed: clock.now, isPlaced: true, machines: [machine.id], paths: [],
                    from: arrival, until: arrival, reference: "case 7"), signing: fixture.keys.vaultSigning))
        #expect(try vault.points(PointQuery()).map(\.isHeld) == [false, true, false])
        clock.set(60)
        #expect(try vault.points(PointQuery()).map(\.isHeld) == [false, true, false])
        let error = #expect(throws: HoldfastError.self) { try vault.deletePoints([receipts[1].point]) }
        #expect(error?.code == .forbidden)
    }

    @Test("a point with a time that no clock shows is refused, and no reader takes one")
    func implausible() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let machine = try fixture.join(vault)
        let writer = try TestWriter(vault, machine)
        let root = writer.make.node("root", [])
        try writer.store([root])
        for nanoseconds in [Int64.min, .max, -3_000_000_000_000_000_000, 9_214_646_400_000_000_000] {
            let point = try writer.point(root: root, time: Timestamp(nanoseconds: nanoseconds))
            let error = #expect(throws: HoldfastError.self) { try writer.commit(point) }
            #expect(error?.code == .denied)
            let bytes = point.locator.encoded()
            #expect(throws: HoldfastError.self) { try bytes.withUnsafeBytes { _ = try PointLocator.decode($0) } }
        }
        #expect(try vault.points(PointQuery()).isEmpty)
        try writer.commit(writer.point(root: root, time: Timestamp(seconds: 0)))
    }

    @Test("a machine that joined with the clock ahead joins again, and its new key counts")
    func joinedAhead() throws {
        let fixture = try VaultFixture()
        let vault = try fixture.open()
        let id = MachineID.random()
        let future = Timestamp(seconds: 2_082_758_400)
        let first = try fixture.keys.enrol(machine: id, name: "m", location: "", joined: future)
        try vault.register(first.record)
        // The state is lost, the clock is right again.
        let now = Timestamp(seconds: Self.start)
        let time = try vault.joiningTime(of: id, now: now)
        #expect(time > future)
        let second = try fixture.keys.enrol(machine: id, name: "m", location: "", joined: time)
        try vault.register(second.record)
        let writer = try TestWriter(vault, TestMachine(id: id, secrets: second.secrets))
        try writer.backup(["one"])
        #expect(try vault.joiningTime(of: .random(), now: now) == now)
    }
}
