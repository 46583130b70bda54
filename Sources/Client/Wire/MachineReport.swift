package import Model
import Vault

/// What an agent tells its server of itself about once a minute: how protection stands, in numbers.
///
/// No names of files are in it: the server of an owner-only vault must not learn them.
package struct MachineReport: Hashable, Sendable {
    package enum Activity: String, Sendable, CaseIterable {
        /// Everything that is known to have changed is stored.
        case idle
        /// It looks at everything.
        case scanning
        case capturing
        /// The vault could not be written to; it is tried again.
        case waiting
        /// Somebody there wants nothing to be protected for a while.
        case paused
        /// The machine sleeps or goes down: silence from here on is no reason to worry, for some days.
        case asleep
        /// The agent ends and the machine does not: somebody has stopped it, and silence from here on is silence.
        case stopped
    }

    /// How changes are found on one file system.
    package struct Watch: Hashable, Sendable {
        package var mountPoint: String
        package var kind: String
        /// Why changes are found by scans only; `nil` when the kernel tells them.
        package var scanReason: String?
        package var overflows: UInt64

        package init(mountPoint: String, kind: String, scanReason: String?, overflows: UInt64) {
            self.mountPoint = mountPoint
            self.kind = kind
            self.scanReason = scanReason
            self.overflows = overflows
        }
    }

    /// What waits on the machine to be sent.
    package struct Spool: Hashable, Sendable {
        package var bytes: UInt64
        package var limit: UInt64
        /// Versions have been thinned out, or changes are remembered as paths only, because there is no room.
        package var isFull: Bool

        package init(bytes: UInt64, limit: UInt64, isFull: Bool) {
            self.bytes = bytes
            self.limit = limit
            self.isFull = isFull
        }
    }

    /// What changed since the report before.
    package struct Changes: Hashable, Sendable {
        /// Files whose content was replaced.
        package var rewritten: UInt64
        package var deleted: UInt64

        package init(rewritten: UInt64, deleted: UInt64) {
            self.rewritten = rewritten
            self.deleted = deleted
        }
    }

    package struct Newest: Hashable, Sendable {
        package var point: PointID
        package var number: UInt64
        /// By the machine's clock.
        package var time: Timestamp

        package init(point: PointID, number: UInt64, time: Timestamp) {
            self.point = point
            self.number = number
            self.time = time
        }
    }

    package var activity: Activity
    /// By the machine's clock, which may be wrong.
    package var time: Timestamp
    /// New at each start of the agent: two of them that take turns are two agents with one identity.
    package var run: RequestNonce
    /// Counts the reports of a run from 1.
    package var sequence: UInt64
    /// New at each start of the machine; `nil` where it cannot be known.
    package var boot: RequestNonce?
    package var hostName: String
    package var program: String
    package var kernel: String
    /// Age of the oldest change that is not stored, in nanoseconds; 0 when all is.
    package var lag: Int64 = 0
    /// Paths that wait.
    package var waiting: UInt64 = 0
    package var watches: [Watch] = []
    package var newest: Newest?
    /// Of the newest point.
    package var files: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Why the vault could not be written to the last time.
    package var problem: String?
    /// Protected paths that could not be kept as they are, by the reason's number.
    package var notKept: [UInt8: UInt64] = [:]
    /// How many there are, the reasons that were not counted included.
    package var notKeptCount: UInt64 = 0
    package var spool: Spool?
    package var changes: Changes?
    /// Of the report before, there and back, in nanoseconds.
    package var roundTrip: Int64?
    /// Nanoseconds that the machine has slept since the report before.
    package var slept: Int64 = 0

    package init(
        activity: Activity, time: Timestamp, run: RequestNonce, sequence: UInt64, boot: RequestNonce?,
        hostName: String, program: String, kernel: String
    ) {
        self.activity = activity
        self.time = time
        self.run = run
        self.sequence = sequence
        self.boot = boot
        self.hostName = hostName
        self.program = program
        self.kernel = kernel
    }
}

// MARK: - On the wire

extension MachineReport {
    /// Longest body in bytes.
    package static let maximumLength = 64 << 10
    static let maximumWatches = 64
    static let maximumText = 1_000

    private static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "activity": .string(activity.rawValue), "time": .integer(time.nanoseconds), "run": .string(run.hex),
            "sequence": Self.count(sequence), "host": .string(Self.short(hostName)),
            "program": .string(Self.short(program)), "kernel": .string(Self.short(kernel)), "lag": .integer(lag),
            "waiting": Self.count(waiting), "files": Self.count(files), "bytes": Self.count(bytes),
            "not_kept_count": Self.count(notKeptCount), "slept": .integer(slept),
            "not_kept": .object(
                Dictionary(uniqueKeysWithValues: notKept.map { (String($0.key), Self.count($0.value)) })),
            "watches": .array(watches.prefix(Self.maximumWatches).map(Self.encode)),
        ]
        if let boot { fields["boot"] = .string(boot.hex) }
        if let newest {
            fields["newest"] = .object([
                "point": .string(newest.point.hex), "number": Self.count(newest.number),
                "time": .integer(newest.time.nanoseconds),
            ])
        }
        if let problem { fields["problem"] = .string(Self.short(problem)) }
        if let spool {
            fields["spool"] = .object([
                "bytes": Self.count(spool.bytes), "limit": Self.count(spool.limit), "full": .bool(spool.isFull),
            ])
        }
        if let changes {
            fields["changes"] = .object([
                "rewritten": Self.count(changes.rewritten), "deleted": Self.count(changes.deleted),
            ])
        }
        if let roundTrip { fields["round_trip"] = .integer(roundTrip) }
        return JSONValue.object(fields).encoded()
    }

    private static func encode(_ watch: Watch) -> JSONValue {
        var row: [String: JSONValue] = [
            "mount_point": .string(short(watch.mountPoint)), "kind": .string(short(watch.kind)),
            "overflows": count(watch.overflows),
        ]
        if let reason = watch.scanReason { row["scan_reason"] = .string(short(reason)) }
        return .object(row)
    }

    /// A text without control characters, cut where it is too long.
    private static func short(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if result.utf8.count >= maximumText - 4 { break }
            result.unicodeScalars.append(scalar.value < 0x20 || scalar.value == 0x7F ? " " : scalar)
        }
        return result
    }

    package static func decode(_ body: [UInt8]) throws -> MachineReport {
        try MachineReport(try JSONFields(parsing: body, document: "the machine's report", atMost: maximumLength))
    }

    private init(_ fields: JSONFields) throws {
        func text(_ name: String) throws -> String {
            let text = try fields.string(name)
            guard text.utf8.count <= Self.maximumText,
                text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
            else { throw fields.wrong(name) }
            return text
        }
        func count(_ name: String, _ fields: JSONFields) throws -> UInt64 {
            UInt64(try fields.integer(name, in: 0...Int64.max))
        }
        guard let activity = Activity(rawValue: try fields.string("activity")) else { throw fields.wrong("activity") }
        self.init(
            activity: activity, time: Timestamp(nanoseconds: try fields.integer("time", in: Int64.min...Int64.max)),
            run: try fields.identifier("run"), sequence: try count("sequence", fields),
            boot: fields.has("boot") ? try fields.identifier("boot") : nil, hostName: try text("host"),
            program: try text("program"), kernel: try text("kernel"))
        lag = try fields.integer("lag", in: 0...Int64.max)
        waiting = try count("waiting", fields)
        files = try count("files", fields)
        bytes = try count("bytes", fields)
        slept = try fields.integer("slept", in: 0...Int64.max)
        notKeptCount = try count("not_kept_count", fields)
        let reasons = try fields.object("not_kept")
        guard reasons.members.count <= 64 else { throw fields.wrong("not_kept") }
        for name in reasons.members.keys {
            guard let number = UInt8(name) else { throw fields.wrong("not_kept") }
            notKept[number] = try count(name, reasons)
        }
        watches = try fields.array("watches", atMost: Self.maximumWatches).map { value in
            let row = try JSONFields(value, document: fields.document)
            func text(_ name: String) throws -> String {
                let text = try row.string(name)
                guard text.utf8.count <= Self.maximumText else { throw row.wrong(name) }
                return text
            }
            return Watch(
                mountPoint: try text("mount_point"), kind: try text("kind"),
                scanReason: row.has("scan_reason") ? try text("scan_reason") : nil,
                overflows: try count("overflows", row))
        }
        if fields.has("newest") {
            let inner = try fields.object("newest")
            newest = Newest(
                point: try inner.identifier("point"), number: try count("number", inner),
                time: Timestamp(nanoseconds: try inner.integer("time", in: Int64.min...Int64.max)))
        }
        problem = fields.has("problem") ? try text("problem") : nil
        if fields.has("spool") {
            let inner = try fields.object("spool")
            spool = Spool(
                bytes: try count("bytes", inner), limit: try count("limit", inner),
                isFull: try VaultMessages.flag(inner, "full"))
        }
        if fields.has("changes") {
            let inner = try fields.object("changes")
            changes = Changes(rewritten: try count("rewritten", inner), deleted: try count("deleted", inner))
        }
        roundTrip = fields.has("round_trip") ? try fields.integer("round_trip", in: 0...Int64.max) : nil
    }
}

/// What the server answers to a report.
package struct ReportAnswer: Hashable, Sendable {
    /// Seconds until the next report is wanted.
    package var interval: Int
    /// Another machine signs with the same key: change it. The other is thereby left outside.
    package var changesKey: Bool

    package init(interval: Int, changesKey: Bool = false) {
        self.interval = interval
        self.changesKey = changesKey
    }

    package func encoded() -> [UInt8] {
        JSONValue.object(["interval": .integer(Int64(interval)), "change_key": .bool(changesKey)]).encoded()
    }

    package static func decode(_ body: [UInt8]) throws -> ReportAnswer {
        let fields = try JSONFields(parsing: body, document: "the server's answer to the report")
        return ReportAnswer(
            interval: Int(try fields.integer("interval", in: 1...86_400)),
            changesKey: try VaultMessages.flag(fields, "change_key"))
    }
}
