import Client
import Glibc
import Model
import Platform
import Synchronization
import Vault

/// What a server does under many agents: so many small points a second, the cost of agents that only report, and all of them
/// coming back at once. `scripts/bench-server` starts a server on the loopback interface and runs this beside it.
///
///     Commits MODE ADDRESS CODE-FILE AGENTS SECONDS [SERVER-PID]      MODE: commit, idle, hold, return or survive
///
/// ADDRESS may be several, with commas: a server lets 4,096 connections in from one.
@main
struct Commits {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 6, let agents = Int(arguments[4]), let seconds = Int(arguments[5]) else {
            print("usage: Commits commit|idle|hold|return|survive ADDRESS CODE-FILE AGENTS SECONDS [SERVER-PID]")
            exit(2)
        }
        try ProcessLimitsOfBench.raise()
        let code = try EnrolmentCode(firstLine(of: arguments[3]))
        let run = BenchRun(
            addresses: try arguments[2].split(separator: ",").map { try ServerAddress(String($0)) }, code: code,
            agents: agents, seconds: seconds,
            server: arguments.count > 6 ? Int(arguments[6]) : nil)
        try run.enrol()
        switch arguments[1] {
        case "commit": try run.commit()
        case "idle": try run.idle()
        case "hold": try run.hold()
        case "return": try run.comeBack()
        case "survive": try run.survive(arguments[3] + ".gone")
        default: print("no such mode: \(arguments[1])")
        }
    }

    private static func firstLine(of path: String) throws -> String {
        let file = try FileDescriptor.open(Array(path.utf8), [.readOnly, .followLink])
        let text = String(decoding: try file.readAll(limit: 4_096), as: UTF8.self)
        return text.split(separator: "\n").first.map(String.init) ?? ""
    }
}

enum ProcessLimitsOfBench {
    static func raise() throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, 65_536)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

/// One agent: what it holds of the server, and its place in its chain.
final class BenchAgent {
    let machine: EnrolledMachine
    let connection: ServerConnection
    let vault: RemoteVault
    private let deriver: BlobKeyDeriver
    private let sealer = BlobSealer(compression: .fast)
    private let key: RecordKey
    private var lease: Lease?
    private var position: PointPosition?
    private var head: MachineHead?
    /// Whether the server has gone on with this agent's chain at each lease but the first.
    private(set) var hasGoneOn = true
    private var count: UInt64 = 0

    init(_ machine: EnrolledMachine, patience: ServerConnection.Patience) throws {
        self.machine = machine
        connection = ServerConnection(machine.credentials, patience: patience)
        vault = RemoteVault(connection, vault: machine.credentials.vault)
        let secret = machine.secrets.domainSecret
        deriver = BlobKeyDeriver(convergence: secret.secret, number: secret.number)
        key = try RecordKey.fresh(for: machine.secrets.publicKey, vault: machine.secrets.vault)
    }

    func open() throws {
        let lease = try vault.openLease(.writer(machine: machine.credentials.machine, head: head, base: nil))
        if head != nil, lease.isNewIncarnation { hasGoneOn = false }
        self.lease = lease
        position = lease.next
    }

    func close() { if let lease { vault.closeLease(lease.id) } }

    private func pack(_ type: BlobType, _ plain: [UInt8], _ names: [BlobID]) throws -> (SealedPack, BlobID, ContentKey)
    {
        let content = plain.withUnsafeBytes { deriver.contentKey(type, $0) }
        let id = BlobCrypto.id(of: content)
        let writer = WriterID(high: machine.credentials.machine.high, low: machine.credentials.machine.low)
        var builder = PackBuilder(vault: machine.secrets.vault, writer: writer, packClass: type.packClass)
        var framed: [UInt8] = []
        let packed = try plain.withUnsafeBytes {
            try sealer.seal(
                type: type, key: content, id: id, secretNumber: machine.secrets.domainSecret.number, references: names,
                plain: $0, into: &framed)
        }
        try framed.withUnsafeBytes { _ = try builder.append($0, packed) }
        return (try builder.finish(), id, content)
    }

    /// A small change as an agent stores it: some hundred bytes of a file, a node that names them, and a point.
    func commit() throws {
        guard let lease, let place = position else { return }
        count += 1
        let salt = withUnsafeBytes(of: (count, machine.credentials.machine.high)) { Array($0) }
        let text = salt + (0..<40).flatMap { _ in withUnsafeBytes(of: UInt64.random(in: 0...UInt64.max)) { Array($0) } }
        let (data, dataID, _) = try pack(.data, text, [])
        let (meta, node, root) = try pack(.node, salt + dataID.bytes.array, [dataID])
        let locator = PointLocator(
            vault: machine.secrets.vault, machine: machine.credentials.machine, incarnation: place.incarnation,
            point: .random(), number: place.number, time: Timestamp(nanoseconds: SystemClock.wall), kind: .continuous,
            flags: [], previous: place.previous, references: [node])
        let point = try SealedPoint.seal(
            locator: locator, record: PointRecord(root: root), key: key, signing: machine.secrets.signing)
        let receipt = try vault.commit(point, with: [data, meta], lease: lease.id)
        head = receipt.storedUpTo
        position = PointPosition(
            incarnation: receipt.storedUpTo.incarnation, number: receipt.storedUpTo.number + 1,
            previous: receipt.storedUpTo.hash)
    }

    /// Nanoseconds until the server wants to hear the next one.
    @discardableResult
    func report(_ sequence: UInt64, run: RequestNonce) throws -> Int64 {
        let report = MachineReport(
            activity: .idle, time: Timestamp(nanoseconds: SystemClock.wall), run: run, sequence: sequence, boot: run,
            hostName: "bench", program: "bench", kernel: "bench")
        let answer = try connection.request(
            "POST", "/api/v1/machines/\(machine.credentials.machine.hex)/status", body: report.encoded())
        return Int64(try ReportAnswer.decode(answer).interval) * 1_000_000_000
    }
}

final class BenchRun: Sendable {
    private let addresses: [ServerAddress]
    private let code: EnrolmentCode
    private let agents: Int
    private let seconds: Int
    private let server: Int?
    private let machines = Mutex<[EnrolledMachine]>([])

    init(addresses: [ServerAddress], code: EnrolmentCode, agents: Int, seconds: Int, server: Int?) {
        self.addresses = addresses
        self.code = code
        self.agents = agents
        self.seconds = seconds
        self.server = server
    }

    func enrol() throws {
        let begun = SystemClock.monotonic
        let next = Atomic<Int>(0)
        let (agents, addresses, code, machines) = (
            agents, addresses, code, UnsafeShared(machines: { [self] in self.add($0) })
        )
        try runThreads(16, name: "enrol") { _ in
            while true {
                let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
                if number >= agents { return }
                machines.machines(
                    try Enrolling.enrol(
                        address: addresses[number % addresses.count], code: code, machine: .random(),
                        name: "bench \(number)"))
            }
        }
        print("\(agents) agents enrolled in \(Self.text(SystemClock.monotonic - begun))")
    }

    private func add(_ machine: EnrolledMachine) { machines.withLock { $0.append(machine) } }

    /// A closure that threads share.
    private struct UnsafeShared: Sendable {
        let machines: @Sendable (EnrolledMachine) -> Void
    }

    /// Every agent commits one small point after the other.
    func commit() throws {
        let all = machines.withLock { $0 }
        let latencies = Mutex<[Int64]>([])
        let failures = Mutex<[String: Int]>([:])
        let ready = Monitor(0)
        let (agents, seconds, server) = (agents, seconds, server)
        let usage = Mutex<(Int64, Int64, Int64)>((0, 0, 0))
        try runThreads(agents + 1, name: "agent") { number in
            if number == agents {
                _ = ready.waitUntil({ $0 >= agents }, nanoseconds: 120_000_000_000)
                usage.withLock { $0 = (SystemClock.monotonic, Self.cpu(server), SystemClock.processCPU) }
                ready.update { $0 += 1 }
                return
            }
            let agent = try BenchAgent(all[number], patience: .init(attempts: 20, longestPause: 5_000))
            try agent.open()
            try agent.commit()
            ready.update { $0 += 1 }
            _ = ready.wait { $0 > agents ? true : nil }
            let end = SystemClock.monotonic + Int64(seconds) * 1_000_000_000
            var own: [Int64] = []
            while SystemClock.monotonic < end {
                let begun = SystemClock.monotonic
                do {
                    try agent.commit()
                    own.append(SystemClock.monotonic - begun)
                } catch {
                    failures.withLock { $0["\((error as? HoldfastError)?.message ?? "\(error)")", default: 0] += 1 }
                    SystemClock.pause(milliseconds: 100)
                }
            }
            latencies.withLock { $0 += own }
            agent.close()
        }
        let (begun, serverBefore, ownBefore) = usage.withLock { $0 }
        let elapsed = Double(SystemClock.monotonic - begun) / 1e9
        let sorted = latencies.withLock { $0.sorted() }
        guard !sorted.isEmpty else { return print("nothing was committed: \(failures.withLock { $0 })") }
        func quantile(_ share: Double) -> String {
            Self.text(sorted[min(Int(Double(sorted.count) * share), sorted.count - 1)])
        }
        print(
            "\(agents) agents, \(seconds) s: \(Int(Double(sorted.count) / Double(seconds))) commits a second, p50 \(quantile(0.5)), "
                + "p99 \(quantile(0.99)), longest \(quantile(1)); processor: server "
                + "\(Self.share(Self.cpu(server) - serverBefore, elapsed)), agents "
                + "\(Self.share(SystemClock.processCPU - ownBefore, elapsed)); failures \(failures.withLock { $0 })")
    }

    /// Every agent reports once in `seconds`, and does nothing else.
    func idle() throws {
        let all = machines.withLock { $0 }
        let (seconds, server) = (seconds, server)
        let rounds = 2
        let threads = 32
        let usage = Mutex<[(Int64, Int64)]>([])
        try runThreads(threads, name: "idle") { thread in
            var own: [BenchAgent] = []
            for number in stride(from: thread, to: all.count, by: threads) {
                let agent = try BenchAgent(all[number], patience: .init(attempts: 20, longestPause: 5_000))
                try agent.report(1, run: .random())
                own.append(agent)
            }
            for round in 0..<rounds {
                let start = SystemClock.monotonic
                if thread == 0 { usage.withLock { $0.append((start, Self.cpu(server))) } }
                for (index, agent) in own.enumerated() {
                    let due = start + Int64(seconds) * 1_000_000_000 * Int64(index) / Int64(own.count)
                    SystemClock.pause(milliseconds: Int(max(due - SystemClock.monotonic, 0) / 1_000_000))
                    try agent.report(UInt64(round) + 2, run: .random())
                }
            }
            if thread == 0 { usage.withLock { $0.append((SystemClock.monotonic, Self.cpu(server))) } }
        }
        let marks = usage.withLock { $0 }
        for (a, b) in zip(marks, marks.dropFirst()) {
            let elapsed = Double(b.0 - a.0) / 1e9
            print(
                "\(all.count) agents that report every \(seconds) s: server \(Self.share(b.1 - a.1, elapsed)) of a core"
            )
        }
    }

    /// Every agent is as one that runs and has nothing to store: it lets the server keep it waiting for orders, and reports as
    /// often as the server tells it to. `seconds` are measured, after everybody has reported and asked twice.
    func hold() throws {
        let all = machines.withLock { $0 }
        let (seconds, server, agents) = (seconds, server, agents)
        let asked = Atomic<Int>(0), reported = Atomic<Int>(0), late = Atomic<Int>(0)
        let isOver = Atomic<Bool>(false)
        let failures = Mutex<[String: Int]>([:])
        let ready = Monitor(0)
        try runThreads(agents + 1, name: "hold", stack: 128 << 10) { number in
            if number == agents {
                _ = ready.waitUntil({ $0 >= agents }, nanoseconds: 600_000_000_000)
                SystemClock.pause(milliseconds: 110_000)
                let begun = SystemClock.monotonic
                let (cpu, own) = (Self.cpu(server), SystemClock.processCPU)
                let before = (asked.load(ordering: .relaxed), reported.load(ordering: .relaxed))
                SystemClock.pause(milliseconds: seconds * 1_000)
                let elapsed = Double(SystemClock.monotonic - begun) / 1e9
                print(
                    "\(agents) idle agents, \(seconds) s: server \(Self.share(Self.cpu(server) - cpu, elapsed)) of a core, agents "
                        + "\(Self.share(SystemClock.processCPU - own, elapsed)); a second "
                        + "\(Int(Double(asked.load(ordering: .relaxed) - before.0) / elapsed)) questions for orders, "
                        + "\(Int(Double(reported.load(ordering: .relaxed) - before.1) / elapsed)) reports; "
                        + "\(late.load(ordering: .relaxed)) were late, failures \(failures.withLock { $0 })")
                isOver.store(true, ordering: .relaxed)
                exit(0)
            }
            let run = RequestNonce.random()
            let agent = try BenchAgent(all[number], patience: .init(attempts: 20, longestPause: 5_000))
            let target = "/api/v1/machines/\(agent.machine.credentials.machine.hex)/commands"
            // They came one after the other, not at the same instant.
            SystemClock.pause(milliseconds: 1 + number * 10)
            var sequence: UInt64 = 1
            var gap = try agent.report(sequence, run: run)
            var due = SystemClock.monotonic + gap
            var policy = ""
            ready.update { $0 += 1 }
            while !isOver.load(ordering: .relaxed) {
                do {
                    let answer = try agent.connection.request(
                        "GET",
                        "\(target)?wait=\(MachineOrders.longestWait)" + (policy.isEmpty ? "" : "&policy=\(policy)"))
                    policy = Hex.encode(try MachineOrders.decode(answer).policy.array)
                    asked.add(1, ordering: .relaxed)
                    if SystemClock.monotonic >= due {
                        sequence += 1
                        gap = try agent.report(sequence, run: run)
                        if SystemClock.monotonic > due + 90_000_000_000 { late.add(1, ordering: .relaxed) }
                        due = SystemClock.monotonic + gap
                        reported.add(1, ordering: .relaxed)
                    }
                } catch {
                    failures.withLock { $0["\((error as? HoldfastError)?.message ?? "\(error)")", default: 0] += 1 }
                    SystemClock.pause(milliseconds: 1_000)
                }
            }
        }
    }

    /// All agents come at the same instant, each with a new connection, opens a lease and commits a point.
    func comeBack() throws {
        let all = machines.withLock { $0 }
        let ready = Monitor(0)
        let times = Mutex<[Int64]>([])
        let failures = Mutex<[String: Int]>([:])
        let (agents, server) = (agents, server)
        let before = Self.cpu(server)
        try runThreads(agents, name: "agent") { number in
            let agent = try BenchAgent(all[number], patience: .job)
            ready.update { $0 += 1 }
            _ = ready.wait { $0 >= agents ? true : nil }
            let begun = SystemClock.monotonic
            do {
                try agent.open()
                try agent.commit()
                times.withLock { $0.append(SystemClock.monotonic - begun) }
                agent.close()
            } catch {
                failures.withLock { $0["\((error as? HoldfastError)?.message ?? "\(error)")", default: 0] += 1 }
            }
        }
        let sorted = times.withLock { $0.sorted() }
        guard let last = sorted.last else { return print("nobody came back: \(failures.withLock { $0 })") }
        print(
            "\(agents) agents at once: \(sorted.count) have committed, half after \(Self.text(sorted[sorted.count / 2])), the last "
                + "after \(Self.text(last)); server processor \(Self.text(Self.cpu(server) - before)); "
                + "failures \(failures.withLock { $0 })")
    }

    /// The server goes away under all agents, and another one comes in its place: every agent goes on with its chain. When the file
    /// `gone` is there, the server has gone.
    func survive(_ gone: String) throws {
        let all = machines.withLock { $0 }
        let stored = Monitor(0)
        let hasGone = Atomic<Bool>(false)
        let times = Mutex<[Int64]>([])
        let broken = Mutex<[String: Int]>([:])
        let agents = agents
        try runThreads(agents + 1, name: "agent", stack: 256 << 10) { number in
            if number == agents {
                _ = stored.wait { $0 >= agents ? true : nil }
                print("stored")
                fflush(nil)
                while access(gone, F_OK) != 0 { SystemClock.pause(milliseconds: 20) }
                hasGone.store(true, ordering: .releasing)
                return
            }
            let agent = try BenchAgent(all[number], patience: .job)
            try agent.open()
            try agent.commit()
            stored.update { $0 += 1 }
            while !hasGone.load(ordering: .acquiring) { SystemClock.pause(milliseconds: 20) }
            let begun = SystemClock.monotonic
            while true {
                do {
                    try agent.commit()
                    break
                } catch let error as HoldfastError where error.code == .leaseLost {
                    do { try agent.open() } catch {
                        broken.withLock {
                            $0["lease: \((error as? HoldfastError)?.message ?? "\(error)")", default: 0] += 1
                        }
                        SystemClock.pause(milliseconds: .random(in: 500...2_000))
                    }
                } catch {
                    broken.withLock { $0["\((error as? HoldfastError)?.message ?? "\(error)")", default: 0] += 1 }
                    SystemClock.pause(milliseconds: .random(in: 500...2_000))
                }
            }
            times.withLock { $0.append(SystemClock.monotonic - begun) }
            if !agent.hasGoneOn { broken.withLock { $0["a chain was begun anew", default: 0] += 1 } }
        }
        let sorted = times.withLock { $0.sorted() }
        guard let last = sorted.last else { return print("nobody came back") }
        print(
            "\(agents) agents whose server went away: \(sorted.count) have gone on, half of them \(Self.text(sorted[sorted.count / 2])) "
                + "after it went, the last after \(Self.text(last)); in between \(broken.withLock { $0 })")
    }

    private static func text(_ nanoseconds: Int64) -> String { "\(Double(nanoseconds / 100_000) / 10) ms" }

    private static func share(_ cpu: Int64, _ elapsed: Double) -> String { "\(Int(Double(cpu) / 1e7 / elapsed)) %" }

    /// Processor time of a process in nanoseconds.
    private static func cpu(_ process: Int?) -> Int64 {
        guard let process,
            let file = try? FileDescriptor.open(Array("/proc/\(process)/stat".utf8), [.readOnly]),
            let bytes = try? file.readAll(limit: 4_096)
        else { return 0 }
        let text = String(decoding: bytes, as: UTF8.self)
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Int64(fields[12]), let system = Int64(fields[13]) else { return 0 }
        return (user + system) * 10_000_000
    }
}
