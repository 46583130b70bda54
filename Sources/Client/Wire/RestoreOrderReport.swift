package import Model
package import Vault

/// What a machine would do for an order, before it does anything.
package struct RestoreOrderPlan: Hashable, Sendable {
    /// One kind of thing that would be done.
    package struct Action: Hashable, Sendable {
        package static let maximumSamples = 20
        /// `create`, `directory`, `unchanged`, `metadata`, `overwrite`, `remove`, `keep`, `rename`; of an undo `return` and
        /// `remove`.
        package var name: String
        package var count: UInt64
        /// Sizes of the files among them.
        package var bytes: UInt64
        /// Some of the paths, for people.
        package var samples: [String]

        package init(name: String, count: UInt64, bytes: UInt64 = 0, samples: [String] = []) {
            self.name = RestoreOrderReport.short(name)
            self.count = count
            self.bytes = bytes
            self.samples = samples.prefix(Self.maximumSamples).map(RestoreOrderReport.short)
        }
    }

    /// Where it goes, for people; `/` in place.
    package var destination: String
    package var actions: [Action]
    /// That are written at most.
    package var bytesToWrite: UInt64
    /// Where it goes; `nil` when the file system does not say.
    package var freeBytes: UInt64?
    package var issues: [RestoreOrderIssue]
    /// Paths that issues are about.
    package var issueCount: UInt64

    /// Leaves numbers only.
    package mutating func hideNames() {
        for index in actions.indices { actions[index].samples = [] }
        issues = []
    }

    package init(
        destination: String, actions: [Action], bytesToWrite: UInt64, freeBytes: UInt64? = nil,
        issues: [RestoreOrderIssue] = [], issueCount: UInt64 = 0
    ) {
        self.destination = RestoreOrderReport.short(destination)
        self.actions = actions
        self.bytesToWrite = bytesToWrite
        self.freeBytes = freeBytes
        self.issues = Array(issues.prefix(RestoreOrderIssue.maximum))
        self.issueCount = issueCount
    }

    package func count(_ name: String) -> UInt64 { actions.first { $0.name == name }?.count ?? 0 }
    package func bytes(_ name: String) -> UInt64 { actions.first { $0.name == name }?.bytes ?? 0 }

    /// Whether there is less room than is to be written.
    package var lacksRoom: Bool { freeBytes.map { bytesToWrite > $0 } ?? false }

    /// Whether anything that is there would be changed.
    package var changesWhatIsThere: Bool {
        count("overwrite") + count("remove") + count("metadata") + count("return") > 0
    }

    var json: JSONValue {
        var fields: [String: JSONValue] = [
            "destination": .string(destination), "bytes_to_write": .integer(Int64(clamping: bytesToWrite)),
            "actions": .array(
                actions.map {
                    .object([
                        "name": .string($0.name), "count": .integer(Int64(clamping: $0.count)),
                        "bytes": .integer(Int64(clamping: $0.bytes)), "samples": .array($0.samples.map { .string($0) }),
                    ])
                }), "issues": .array(issues.map(\.json)), "issue_count": .integer(Int64(clamping: issueCount)),
        ]
        if let freeBytes { fields["free_bytes"] = .integer(Int64(clamping: freeBytes)) }
        return .object(fields)
    }

    init(_ fields: JSONFields) throws {
        self.init(
            destination: try fields.string("destination"),
            actions: try fields.array("actions", atMost: 16).map { value in
                let inner = try JSONFields(value, document: fields.document)
                return Action(
                    name: try inner.string("name"), count: try inner.count("count"), bytes: try inner.count("bytes"),
                    samples: try inner.strings("samples", atMost: Action.maximumSamples))
            }, bytesToWrite: try fields.count("bytes_to_write"),
            freeBytes: fields.has("free_bytes") ? try fields.count("free_bytes") : nil,
            issues: try RestoreOrderIssue.list(fields), issueCount: try fields.count("issue_count"))
    }
}

/// Something about a restore that a person should know.
package struct RestoreOrderIssue: Hashable, Sendable {
    static let maximum = 50
    /// See `RestoreIssue.Kind`.
    package var kind: String
    /// For people; empty for what concerns all.
    package var path: String
    package var text: String

    package init(kind: String, path: String, text: String) {
        self.kind = RestoreOrderReport.short(kind)
        self.path = RestoreOrderReport.short(path)
        self.text = RestoreOrderReport.short(text)
    }

    var json: JSONValue { .object(["kind": .string(kind), "path": .string(path), "text": .string(text)]) }

    static func list(_ fields: JSONFields) throws -> [RestoreOrderIssue] {
        try fields.array("issues", atMost: maximum).map { value in
            let inner = try JSONFields(value, document: fields.document)
            return RestoreOrderIssue(
                kind: try inner.string("kind"), path: try inner.string("path"), text: try inner.string("text"))
        }
    }
}

/// How far a machine is with an order.
package struct RestoreOrderProgress: Hashable, Sendable {
    /// `comparing`, `keeping` (what will be replaced goes into a point) or `restoring`.
    package var phase: String
    package var files: UInt64
    /// Bytes that are as they should be, those included that were there already.
    package var bytes: UInt64
    /// 0 while it is not known.
    package var totalBytes: UInt64
    /// Lately.
    package var bytesPerSecond: UInt64

    package init(
        phase: String, files: UInt64 = 0, bytes: UInt64 = 0, totalBytes: UInt64 = 0, bytesPerSecond: UInt64 = 0
    ) {
        self.phase = phase
        self.files = files
        self.bytes = bytes
        self.totalBytes = totalBytes
        self.bytesPerSecond = bytesPerSecond
    }

    /// Seconds until the end; `nil` while nobody can tell.
    package var secondsLeft: Int64? {
        guard phase == "restoring", bytesPerSecond > 0, totalBytes > bytes else { return nil }
        return Int64(clamping: (totalBytes - bytes) / bytesPerSecond)
    }

    var json: JSONValue {
        .object([
            "phase": .string(phase), "files": .integer(Int64(clamping: files)),
            "bytes": .integer(Int64(clamping: bytes)), "total_bytes": .integer(Int64(clamping: totalBytes)),
            "bytes_per_second": .integer(Int64(clamping: bytesPerSecond)),
        ])
    }

    init(_ fields: JSONFields) throws {
        self.init(
            phase: RestoreOrderReport.short(try fields.string("phase")), files: try fields.count("files"),
            bytes: try fields.count("bytes"), totalBytes: try fields.count("total_bytes"),
            bytesPerSecond: try fields.count("bytes_per_second"))
    }
}

/// What a machine did for an order.
package struct RestoreOrderResult: Hashable, Sendable {
    package var destination = ""
    package var filesWritten: UInt64 = 0
    package var bytesWritten: UInt64 = 0
    package var filesUnchanged: UInt64 = 0
    package var othersWritten: UInt64 = 0
    package var metadataOnly: UInt64 = 0
    package var removed: UInt64 = 0
    package var kept: UInt64 = 0
    package var renamed: UInt64 = 0
    package var verified: UInt64 = 0
    package var milliseconds: UInt64 = 0
    package var issues: [RestoreOrderIssue] = []
    package var issueCount: UInt64 = 0
    /// Paths that were to be restored and were not, for no reason that somebody gave.
    package var failures: UInt64 = 0
    /// The point with what was replaced or removed; `nil` when nothing was.
    package var before: PointID?
    /// Whether the machine can take it back.
    package var canBeUndone = false
    /// By what the machine knows it again when it is to be taken back.
    package var undoIdentifier: String?

    package init() {}

    private static var counts: [(String, WritableKeyPath<RestoreOrderResult, UInt64>)] {
        [
            ("files_written", \.filesWritten), ("bytes_written", \.bytesWritten), ("files_unchanged", \.filesUnchanged),
            ("others_written", \.othersWritten), ("metadata_only", \.metadataOnly), ("removed", \.removed),
            ("kept", \.kept), ("renamed", \.renamed), ("verified", \.verified), ("milliseconds", \.milliseconds),
            ("issue_count", \.issueCount), ("failures", \.failures),
        ]
    }

    package var json: JSONValue {
        var fields: [String: JSONValue] = [
            "destination": .string(destination), "issues": .array(issues.map(\.json)), "undo": .bool(canBeUndone),
        ]
        for (name, path) in Self.counts { fields[name] = .integer(Int64(clamping: self[keyPath: path])) }
        if let before { fields["before"] = .string(before.hex) }
        if let undoIdentifier { fields["undo_id"] = .string(undoIdentifier) }
        return .object(fields)
    }

    package init(_ fields: JSONFields) throws {
        destination = RestoreOrderReport.short(try fields.string("destination"))
        issues = try RestoreOrderIssue.list(fields)
        canBeUndone = try fields.boolean("undo")
        for (name, path) in Self.counts { self[keyPath: path] = try fields.count(name) }
        before = fields.has("before") ? try fields.identifier("before") : nil
        undoIdentifier = fields.has("undo_id") ? RestoreOrderReport.short(try fields.string("undo_id")) : nil
    }

    /// Shortens what is too much to send.
    package mutating func keep(issues: [RestoreOrderIssue]) {
        self.issues = Array(issues.prefix(RestoreOrderIssue.maximum))
    }
}

/// What a machine says about an order. Sending it again does no harm.
package struct RestoreOrderReport: Hashable, Sendable {
    package static let maximumLines = 200
    /// Lines that are kept of one order.
    package static let keptLines: Int64 = 2_000

    package var state: RestoreOrder.State?
    package var plan: RestoreOrderPlan?
    package var progress: RestoreOrderProgress?
    package var result: RestoreOrderResult?
    package var message: String?
    package var hint: String?
    /// The number of the first of `lines` among all that the machine says about the order, from 1.
    package var firstLine: Int64 = 1
    package var lines: [String] = []

    package init(state: RestoreOrder.State? = nil) { self.state = state }

    /// Texts on the wire are bounded.
    static func short(_ text: String) -> String {
        text.utf8.count <= 1_024 ? text : String(decoding: text.utf8.prefix(1_020), as: UTF8.self) + "..."
    }

    package func encoded() -> [UInt8] {
        var fields: [String: JSONValue] = [
            "first_line": .integer(firstLine), "lines": .array(lines.map { .string(Self.short($0)) }),
        ]
        if let state { fields["state"] = .string(state.rawValue) }
        if let plan { fields["plan"] = plan.json }
        if let progress { fields["progress"] = progress.json }
        if let result { fields["result"] = result.json }
        if let message { fields["message"] = .string(Self.short(message)) }
        if let hint { fields["hint"] = .string(Self.short(hint)) }
        return JSONValue.object(fields).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> RestoreOrderReport {
        let fields = try JSONFields(parsing: bytes, document: "the report", atMost: RestoreOrder.maximumLength)
        var report = RestoreOrderReport()
        if fields.has("state") {
            guard let state = RestoreOrder.State(rawValue: try fields.string("state")) else {
                throw fields.wrong("state")
            }
            report.state = state
        }
        report.plan = fields.has("plan") ? try RestoreOrderPlan(fields.object("plan")) : nil
        report.progress = fields.has("progress") ? try RestoreOrderProgress(fields.object("progress")) : nil
        report.result = fields.has("result") ? try RestoreOrderResult(fields.object("result")) : nil
        report.message = fields.has("message") ? short(try fields.string("message")) : nil
        report.hint = fields.has("hint") ? short(try fields.string("hint")) : nil
        report.firstLine = try fields.integer("first_line", in: 1...(1 << 40))
        report.lines = try fields.strings("lines", atMost: maximumLines).map(short)
        return report
    }
}

/// What the server answers to a report: what is wanted of the machine now.
package struct RestoreOrderAnswer: Hashable, Sendable {
    package var state: RestoreOrder.State
    package var isConfirmed: Bool
    package var isStopping: Bool
    /// Lines of the machine that the server has.
    package var lines: Int64

    package init(_ order: RestoreOrder) {
        state = order.state
        isConfirmed = order.isConfirmed
        isStopping = order.isStopping
        lines = order.machineLines
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "state": .string(state.rawValue), "confirmed": .bool(isConfirmed), "stopping": .bool(isStopping),
            "lines": .integer(lines),
        ]).encoded()
    }

    package init(decoding bytes: [UInt8]) throws {
        let fields = try JSONFields(parsing: bytes, document: "the server's answer about an order")
        guard let state = RestoreOrder.State(rawValue: try fields.string("state")) else { throw fields.wrong("state") }
        self.state = state
        isConfirmed = try fields.boolean("confirmed")
        isStopping = try fields.boolean("stopping")
        lines = try fields.integer("lines", in: 0...Int64.max)
    }
}

extension JSONFields {
    fileprivate func count(_ name: String) throws -> UInt64 { UInt64(try integer(name, in: 0...Int64.max)) }
}
