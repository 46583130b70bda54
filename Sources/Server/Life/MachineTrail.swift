import Catalog
import Client
import Model
import Vault

/// What the server remembers of a machine's reports beside the last: who spoke under its identity, since when it has a
/// problem, and how much it held. Changes by what comes in and by nothing else.
struct MachineTrail: Hashable, Sendable {
    /// One life of an agent, from its start to its end.
    struct Run: Hashable, Sendable {
        var run: RequestNonce
        var boot: RequestNonce?
        var hostName: String
        var first: Timestamp
        var last: Timestamp
        /// How often it came back after another had spoken, lately.
        var returns = 0
    }

    /// How much a machine held and had sent at one time.
    struct Sample: Hashable, Sendable {
        var time: Timestamp
        var files: UInt64
        var bytes: UInt64
        /// Bytes of data blobs that came in and did not shrink when they were compressed, and of all.
        var raw: UInt64
        var stored: UInt64
        /// Counted by the agent.
        var rewritten: UInt64
        var deleted: UInt64
    }

    /// What a report showed about who speaks.
    enum Finding: Hashable, Sendable {
        /// A new life of the same machine under another host name.
        case renamed(from: String, to: String)
        /// Two agents take turns under one identity; the first is the machine that was known before.
        case cloned(known: Run, other: Run)
    }

    /// The newest speaker comes first.
    private(set) var runs: [Run] = []
    /// The host name under which the machine has been known for a day or more.
    private(set) var home = ""
    var problemSince: Timestamp?
    private(set) var samples: [Sample] = []
    /// While two have one identity: the one that changes its key, and the name of the host of the other.
    var original: RequestNonce?
    var cloneHost: String?
    /// The other has been left outside, and waits for a decision.
    var isParked = false

    static let maximumRuns = 4
    /// Longest pause between two turns that are counted together, in nanoseconds.
    static let turnWindow: Int64 = 1_800_000_000_000
    /// The last words of a life can come after the first of the next; no request is under way for so long, in nanoseconds.
    static let lastWords: Int64 = 45_000_000_000
    static let turnsOfTwo = 2
    static let day: Int64 = 86_400_000_000_000

    /// Takes note of a report.
    mutating func note(_ report: MachineReport, at now: Timestamp) -> Finding? {
        if report.problem == nil { problemSince = nil } else { problemSince = problemSince ?? now }
        let before = runs.first
        if let index = runs.firstIndex(where: { $0.run == report.run }) {
            if index > 0, let before, now.since(before.first) < Self.lastWords { return nil }
            var run = runs.remove(at: index)
            if index > 0 {
                run.returns = now.since(run.last) <= Self.turnWindow ? run.returns + 1 : 1
            } else if let other = runs.first, now.since(other.last) > Self.turnWindow {
                run.returns = 0
            }
            run.last = now
            runs.insert(run, at: 0)
            if run.hostName != home, now.since(run.first) > Self.day { home = run.hostName }
            guard index > 0, original == nil, let other = before, run.returns + other.returns >= Self.turnsOfTwo
            else { return nil }
            return cloned(run, other)
        }
        let run = Run(run: report.run, boot: report.boot, hostName: report.hostName, first: now, last: now)
        runs.insert(run, at: 0)
        if runs.count > Self.maximumRuns { runs.removeLast() }
        if home.isEmpty { home = report.hostName }
        if let before, before.hostName != report.hostName {
            return .renamed(from: before.hostName, to: report.hostName)
        }
        return nil
    }

    private mutating func cloned(_ a: Run, _ b: Run) -> Finding {
        let isA = (a.hostName == home) != (b.hostName == home) ? a.hostName == home : a.first <= b.first
        let (known, other) = isA ? (a, b) : (b, a)
        original = known.run
        cloneHost = other.hostName
        return .cloned(known: known, other: other)
    }

    /// Somebody has decided which is which.
    mutating func decided() {
        original = nil
        cloneHost = nil
        isParked = false
        runs = Array(runs.prefix(1))
        runs.indices.forEach { runs[$0].returns = 0 }
    }

    // MARK: How much it holds

    /// The span over which a mass change is looked for, in nanoseconds, and the least between two samples.
    static let sampleWindow: Int64 = 3_600_000_000_000
    static let sampleInterval: Int64 = 120_000_000_000

    mutating func add(_ sample: Sample) {
        if let last = samples.last, sample.time.since(last.time) < Self.sampleInterval, samples.count > 1 {
            samples[samples.count - 1] = sample
        } else {
            samples.append(sample)
        }
        samples.removeAll { sample.time.since($0.time) > Self.sampleWindow }
    }

    /// What the samples say about a mass change: in words, and when it began.
    func massChange() -> (text: String, since: Timestamp)? {
        guard let now = samples.last else { return nil }
        let earlier = samples.dropLast()
        if let peak = earlier.max(by: { $0.files < $1.files }), peak.files > now.files {
            let gone = peak.files - now.files
            if gone >= 500, Double(gone) >= 0.3 * Double(peak.files) {
                return (
                    "\(Units.count(gone, "file")) of \(Units.count(peak.files)) are gone within "
                        + "\(Units.span(nanoseconds: UInt64(max(now.time.since(peak.time), 1))))", peak.time
                )
            }
        }
        // Replaced, not added to: what is held is no more than it was, and most of what came in does not shrink.
        for start in earlier where start.bytes > 0 && now.stored >= start.stored && now.raw >= start.raw {
            let (stored, raw) = (now.stored - start.stored, now.raw - start.raw)
            let isSame =
                Double(now.bytes) <= 1.1 * Double(start.bytes) && Double(now.files) <= 1.1 * Double(start.files)
            if isSame, raw >= 10_000_000, Double(raw) >= 0.3 * Double(start.bytes), Double(raw) >= 0.9 * Double(stored)
            {
                return (
                    "\(Units.size(raw)) of \(Units.size(start.bytes)) were replaced within "
                        + "\(Units.span(nanoseconds: UInt64(max(now.time.since(start.time), 1)))) by contents that cannot be compressed",
                    start.time
                )
            }
        }
        return nil
    }

    /// The samples before this one were looked at and told of.
    mutating func forgetSamples() { samples = Array(samples.suffix(1)) }

    // MARK: Coding

    func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "home": .string(home), "parked": .bool(isParked),
            "runs": .array(
                runs.map { run in
                    var row: [String: JSONValue] = [
                        "run": .string(run.run.hex), "host": .string(run.hostName),
                        "first": .integer(run.first.nanoseconds), "last": .integer(run.last.nanoseconds),
                        "returns": .integer(Int64(run.returns)),
                    ]
                    if let boot = run.boot { row["boot"] = .string(boot.hex) }
                    return .object(row)
                }),
        ]
        if let problemSince { fields["problem_since"] = .integer(problemSince.nanoseconds) }
        if let original { fields["original"] = .string(original.hex) }
        if let cloneHost { fields["clone_host"] = .string(cloneHost) }
        return JSONValue.object(fields).encoded()
    }

    /// Samples are not written down: those of a server that was away compare nothing.
    static func decode(_ bytes: [UInt8]) throws -> MachineTrail {
        let fields = try JSONFields(parsing: bytes, document: "what is known of a machine")
        let all = Int64.min...Int64.max
        var trail = MachineTrail()
        trail.home = try fields.string("home")
        trail.isParked = try VaultMessages.flag(fields, "parked")
        trail.runs = try fields.array("runs", atMost: 16).map { value in
            let row = try JSONFields(value, document: fields.document)
            return Run(
                run: try row.identifier("run"), boot: row.has("boot") ? try row.identifier("boot") : nil,
                hostName: try row.string("host"), first: Timestamp(nanoseconds: try row.integer("first", in: all)),
                last: Timestamp(nanoseconds: try row.integer("last", in: all)),
                returns: Int(try row.integer("returns", in: 0...1_000_000)))
        }
        if fields.has("problem_since") {
            trail.problemSince = Timestamp(nanoseconds: try fields.integer("problem_since", in: all))
        }
        trail.original = fields.has("original") ? try fields.identifier("original") : nil
        trail.cloneHost = fields.has("clone_host") ? try fields.string("clone_host") : nil
        return trail
    }
}
