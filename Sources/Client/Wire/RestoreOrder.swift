package import Model
package import Vault

/// The id of an order to restore something on a machine.
package struct RestoreOrderID: RandomIdentifier {
    package let high: UInt64, low: UInt64
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }
}

/// What is to be restored, from which point, to which machine, and where to there.
package struct RestoreWish: Hashable, Sendable {
    package enum Kind: String, Sendable, CaseIterable {
        case restore
        /// Takes the machine's last restore in place back, which must be the one of `undoes`.
        case undo
    }

    package enum Destination: Hashable, Sendable {
        /// Where it was.
        case inPlace
        /// A folder that is made for this order, in the place that the machine has for them.
        case newFolder
        /// Below this directory, under the full path.
        case folder([UInt8])
    }

    /// What happens when a name is taken by something else; see `holdfast restore --conflict`.
    package enum Existing: String, Sendable, CaseIterable {
        case rename, always, never, newer
    }

    /// Paths of one order.
    package static let maximumPaths = 1_000
    /// Bytes of all of them.
    package static let maximumBytes = 256 << 10
    /// Seconds that a machine may be silent before an order ends; a week.
    package static let usualPatience: Int64 = 7 * 86_400
    package static let patience: ClosedRange<Int64> = 60...(366 * 86_400)

    package var kind = Kind.restore
    /// The order that is taken back.
    package var undoes: RestoreOrderID?
    /// By what the machine knows again what is taken back.
    package var undoIdentifier: String?
    /// Whose point it is.
    package var source: MachineID
    /// Who restores it.
    package var target: MachineID
    package var point: PointID
    /// In normal form; the root stands for all.
    package var paths: [TreePath]
    package var destination: Destination
    /// `nil`: as `holdfast restore` has it, `always` in place and `rename` in a folder.
    package var existing: Existing?
    /// What the point does not have is removed below the paths.
    package var deletesExtra = false
    /// Everything is read back at the end and compared with the vault.
    package var verifies = false
    /// Somebody has to agree to the plan before it begins.
    package var asksFirst = true
    /// The order ends when nothing is heard about it for so many seconds.
    package var patience = RestoreWish.usualPatience

    package init(
        source: MachineID, target: MachineID, point: PointID, paths: [TreePath], destination: Destination
    ) {
        self.source = source
        self.target = target
        self.point = point
        self.paths = paths
        self.destination = destination
    }

    /// Takes back what an order has restored in place.
    package static func undo(_ order: RestoreOrder) -> RestoreWish {
        var wish = RestoreWish(
            source: order.wish.source, target: order.wish.target, point: order.wish.point, paths: order.wish.paths,
            destination: .inPlace)
        wish.kind = .undo
        wish.undoes = order.id
        wish.undoIdentifier = order.result?.undoIdentifier
        return wish
    }

    /// Whether it writes to another machine than the files came from.
    package var isElsewhere: Bool { source != target }

    /// Throws `usage` for what cannot be meant.
    package func check() throws {
        guard !paths.isEmpty, paths.count <= Self.maximumPaths,
            paths.reduce(0, { $0 + $1.bytes.count + 1 }) <= Self.maximumBytes
        else { throw HoldfastError(.usage, "An order takes 1 to \(Self.maximumPaths) paths, and 256 KiB of them.") }
        guard Self.patience.contains(patience) else {
            throw HoldfastError(.usage, "An order waits for a minute at least and for a year at most.")
        }
        if case .folder(let path) = destination {
            guard path.first == UInt8(ascii: "/"), path.count <= 4_096, TreePath(normalizing: path)?.isRoot == false,
                TreePath(normalizing: path).map({ [UInt8(ascii: "/")] + $0.bytes }) == path
            else {
                throw HoldfastError(
                    .usage, "The folder must be an absolute path without “..”, such as /srv/restore/monday.")
            }
        }
        if deletesExtra, existing == .rename || (existing == nil && destination != .inPlace) {
            throw HoldfastError(
                .usage, "What is extra is removed only where what is there is replaced, left, or replaced when older.")
        }
        if (kind == .undo) != (undoes != nil) || (kind == .undo && destination != .inPlace) {
            throw HoldfastError(.usage, "What is taken back is a restore in place, by its order.")
        }
    }

    // MARK: JSON

    package var members: [String: JSONValue] {
        var fields: [String: JSONValue] = [
            "kind": .string(kind.rawValue), "source": .string(source.hex), "machine": .string(target.hex),
            "point": .string(point.hex), "delete": .bool(deletesExtra), "verify": .bool(verifies),
            "ask": .bool(asksFirst), "patience": .integer(patience),
        ]
        if let undoes { fields["undoes"] = .string(undoes.hex) }
        if let undoIdentifier { fields["undo_id"] = .string(undoIdentifier) }
        if let existing { fields["conflict"] = .string(existing.rawValue) }
        RestoreOrderText.set(paths.map { [UInt8(ascii: "/")] + $0.bytes }, "paths", in: &fields)
        switch destination {
        case .inPlace: fields["to"] = .string("in-place")
        case .newFolder: fields["to"] = .string("new-folder")
        case .folder(let path):
            fields["to"] = .string("folder")
            RestoreOrderText.set([path], "folder", in: &fields)
        }
        return fields
    }

    package init(_ fields: JSONFields) throws {
        func flag(_ name: String, _ usual: Bool) throws -> Bool { fields.has(name) ? try fields.boolean(name) : usual }
        let paths = try RestoreOrderText.read("paths", of: fields, atMost: Self.maximumPaths).map { bytes -> TreePath in
            guard bytes.first == UInt8(ascii: "/"), let path = TreePath(normalizing: bytes) else {
                throw HoldfastError(.usage, "\(TreePath.display(bytes)) is no absolute path without “..”.")
            }
            return path
        }
        let destination: Destination
        switch try fields.string("to") {
        case "in-place": destination = .inPlace
        case "new-folder": destination = .newFolder
        case "folder":
            guard let path = try RestoreOrderText.read("folder", of: fields, atMost: 1).first else {
                throw fields.wrong("folder")
            }
            destination = .folder(path)
        default: throw fields.wrong("to")
        }
        self.init(
            source: try fields.identifier("source"), target: try fields.identifier("machine"),
            point: try fields.identifier("point"), paths: paths, destination: destination)
        if fields.has("kind") {
            guard let known = Kind(rawValue: try fields.string("kind")) else { throw fields.wrong("kind") }
            kind = known
        }
        if fields.has("undoes") { undoes = try fields.identifier("undoes") }
        if fields.has("undo_id") { undoIdentifier = RestoreOrderReport.short(try fields.string("undo_id")) }
        if fields.has("conflict") {
            guard let known = Existing(rawValue: try fields.string("conflict")) else { throw fields.wrong("conflict") }
            existing = known
        }
        deletesExtra = try flag("delete", false)
        verifies = try flag("verify", false)
        asksFirst = try flag("ask", true)
        if fields.has("patience") { patience = try fields.integer("patience", in: Int64.min...Int64.max) }
        try check()
    }
}

/// A wish that somebody has ordered, and how it stands.
package struct RestoreOrder: Hashable, Sendable {
    package enum State: String, Sendable, CaseIterable {
        /// The machine has not heard of it yet.
        case ordered
        /// The machine finds out what would be done.
        case planning
        /// The plan is there; somebody has to agree.
        case planned
        case running
        case finished
        case failed
        case stopped
        /// The machine does not allow it.
        case refused
        /// Nothing was heard about it for too long.
        case expired

        /// Whether anything can still happen.
        package var isOpen: Bool {
            switch self {
            case .ordered, .planning, .planned, .running: true
            case .finished, .failed, .stopped, .refused, .expired: false
            }
        }
    }

    package let id: RestoreOrderID
    package let wish: RestoreWish
    /// Who ordered it, for people.
    package let owner: String
    /// The id of the account that ordered it; `nil` when it was none.
    package var account: String?
    package let created: Timestamp
    package var state = State.ordered
    /// Somebody has agreed to the plan.
    package var isConfirmed = false
    /// Somebody wants it to end.
    package var isStopping = false
    /// Grows when somebody wants something else of the machine.
    package var revision: Int64 = 1
    /// When something was heard about it last.
    package var heard: Timestamp
    package var begun: Timestamp?
    package var ended: Timestamp?
    package var plan: RestoreOrderPlan?
    /// Grows with each plan that is another than the one before.
    package var planNumber: Int64 = 0
    package var progress: RestoreOrderProgress?
    package var result: RestoreOrderResult?
    /// Why it ended as it did, for people.
    package var message: String?
    /// What to do about it.
    package var hint: String?
    /// Lines of its log.
    package var lines: Int64 = 0
    /// Of them those that the machine has said.
    package var machineLines: Int64 = 0

    package init(id: RestoreOrderID, wish: RestoreWish, owner: String, created: Timestamp) {
        self.id = id
        self.wish = wish
        self.owner = owner
        self.created = created
        heard = created
    }

    /// The first digits of the id, for people.
    package var shortID: String { String(id.hex.prefix(8)) }

    /// Somebody has to agree to its plan.
    package var isWaiting: Bool { state == .planned && wish.asksFirst && !isConfirmed && !isStopping }

    // MARK: What changes it

    /// Ends it, whatever the machine does: its next report is told so.
    package mutating func end(_ state: State, _ message: String?, hint: String? = nil, at time: Timestamp) {
        guard self.state.isOpen else { return }
        self.state = state
        self.message = message
        self.hint = hint
        ended = time
        revision += 1
    }

    /// Somebody agrees to the plan.
    ///
    /// - Parameter seen: the number of the plan that they have seen; `nil` from who agrees to whatever it is.
    /// - Throws: `forbidden` when there is none to agree to, or another one than was seen.
    package mutating func confirm(seen: Int64?) throws {
        guard state == .planned else { throw Self.wrongTime(state, "can be agreed to") }
        guard seen == nil || seen == planNumber else {
            throw HoldfastError(
                .forbidden, "The machine has made another plan meanwhile. Nothing was agreed to.",
                context: ["hint": "Look at the plan again, and agree to that one."])
        }
        if isConfirmed { return }
        isConfirmed = true
        revision += 1
    }

    /// Machines that say nothing for so long are not waited for, in nanoseconds.
    package static let silence: Int64 = 60_000_000_000

    /// Somebody wants it to end. What no machine works on ends at once.
    package mutating func stop(by who: String, at time: Timestamp) throws {
        guard state.isOpen else { throw Self.wrongTime(state, "can be stopped") }
        if state == .ordered || time.since(heard) > Self.silence {
            return end(.stopped, "Stopped by \(who).", at: time)
        }
        if isStopping { return }
        isStopping = true
        message = "Stopped by \(who)."
        revision += 1
    }

    /// What nobody has heard of for longer than it may be ends.
    ///
    /// - Parameter since: when listening began; before that nothing could be heard.
    package mutating func expire(at time: Timestamp, listeningSince since: Timestamp) {
        guard state.isOpen else { return }
        let last = max(heard, since)
        if isStopping, time.since(last) > Self.silence { return end(.stopped, message, at: time) }
        guard time.since(last) > wish.patience * 1_000_000_000 else { return }
        switch state {
        case .ordered: end(.expired, "The machine was not there to do it.", at: time)
        case .planned where !isConfirmed && wish.asksFirst: end(.expired, "Nobody has agreed to its plan.", at: time)
        default: end(.expired, "Nothing was heard of the machine any more.", at: time)
        }
        hint = "Order it again when the machine is back; what is restored already is not fetched again."
    }

    /// What the machine says. Throws `forbidden` when the order has ended, or when that cannot follow on what was before.
    package mutating func take(_ report: RestoreOrderReport, at time: Timestamp) throws {
        guard state.isOpen else { throw Self.wrongTime(state, "goes on") }
        if let next = report.state {
            guard follows(next) else {
                throw HoldfastError(.forbidden, "This order is \(state.rawValue), and cannot be \(next.rawValue).")
            }
            if next == .running, state != .running { begun = begun ?? time }
            if next == .planning { (plan, progress) = (nil, nil) }
            state = next
            if !next.isOpen { ended = time }
        }
        heard = time
        if let plan = report.plan, plan != self.plan {
            // What somebody has agreed to stays what it was.
            guard !isConfirmed || state != .planned else {
                throw HoldfastError(.forbidden, "The plan of this order was agreed to, and cannot be another one.")
            }
            self.plan = plan
            planNumber += 1
        }
        if let progress = report.progress { self.progress = progress }
        if let result = report.result { self.result = result }
        if let message = report.message { self.message = message }
        if let hint = report.hint { self.hint = hint }
    }

    /// Lines of a report that were not heard yet; they count as heard then. A machine that leaves numbers out is not believed.
    package mutating func newLines(of report: RestoreOrderReport) -> [String] {
        let known = machineLines - min(report.firstLine - 1, machineLines)
        guard known < Int64(report.lines.count) else { return [] }
        let new = report.lines.dropFirst(Int(known))
        machineLines += Int64(new.count)
        return Array(new)
    }

    private func follows(_ next: State) -> Bool {
        switch (state, next) {
        case (_, .failed), (_, .refused), (_, .stopped): true
        case (.ordered, .planning), (.planning, .planning), (.planning, .planned), (.planned, .planned): true
        // Begun anew before anything was changed: what was found then may not hold any more.
        case (.planned, .planning): !isConfirmed
        case (.planning, .running): !wish.asksFirst
        case (.planned, .running): isConfirmed || !wish.asksFirst
        case (.running, .running), (.running, .finished): true
        default: false
        }
    }

    private static func wrongTime(_ state: State, _ what: String) -> HoldfastError {
        HoldfastError(
            .forbidden, "This order is \(state.rawValue); it is not one that \(what).",
            context: ["state": state.rawValue])
    }

    // MARK: JSON

    package var json: JSONValue { .object(fields) }

    private var fields: [String: JSONValue] {
        var fields = wish.members
        fields["order"] = .string(id.hex)
        fields["owner"] = .string(owner)
        fields["created"] = .integer(created.nanoseconds)
        fields["state"] = .string(state.rawValue)
        fields["confirmed"] = .bool(isConfirmed)
        fields["stopping"] = .bool(isStopping)
        fields["revision"] = .integer(revision)
        fields["heard"] = .integer(heard.nanoseconds)
        fields["lines"] = .integer(lines)
        fields["machine_lines"] = .integer(machineLines)
        fields["plan_number"] = .integer(planNumber)
        if let account { fields["account"] = .string(account) }
        if let begun { fields["begun"] = .integer(begun.nanoseconds) }
        if let ended { fields["ended"] = .integer(ended.nanoseconds) }
        if let plan { fields["plan"] = plan.json }
        if let progress { fields["progress"] = progress.json }
        if let result { fields["result"] = result.json }
        if let message { fields["message"] = .string(message) }
        if let hint { fields["hint"] = .string(hint) }
        return fields
    }

    package func encoded() -> [UInt8] { json.encoded() }

    /// Longest document of one order, in bytes.
    package static let maximumLength = 4 << 20

    package static func decode(_ bytes: [UInt8]) throws -> RestoreOrder {
        try RestoreOrder(JSONFields(parsing: bytes, document: "the order", atMost: maximumLength))
    }

    package init(_ fields: JSONFields) throws {
        func time(_ name: String) throws -> Timestamp {
            Timestamp(nanoseconds: try fields.integer(name, in: Int64.min...Int64.max))
        }
        self.init(
            id: try fields.identifier("order"), wish: try RestoreWish(fields), owner: try fields.string("owner"),
            created: try time("created"))
        guard let known = State(rawValue: try fields.string("state")) else { throw fields.wrong("state") }
        state = known
        isConfirmed = try fields.boolean("confirmed")
        isStopping = try fields.boolean("stopping")
        revision = try fields.integer("revision", in: 1...Int64.max)
        heard = try time("heard")
        lines = try fields.integer("lines", in: 0...Int64.max)
        machineLines = try fields.integer("machine_lines", in: 0...(1 << 40))
        planNumber = fields.has("plan_number") ? try fields.integer("plan_number", in: 0...Int64.max) : 0
        account = fields.has("account") ? RestoreOrderReport.short(try fields.string("account")) : nil
        begun = fields.has("begun") ? try time("begun") : nil
        ended = fields.has("ended") ? try time("ended") : nil
        plan = fields.has("plan") ? try RestoreOrderPlan(fields.object("plan")) : nil
        progress = fields.has("progress") ? try RestoreOrderProgress(fields.object("progress")) : nil
        result = fields.has("result") ? try RestoreOrderResult(fields.object("result")) : nil
        message = fields.has("message") ? try fields.string("message") : nil
        hint = fields.has("hint") ? try fields.string("hint") : nil
    }
}

/// Names of files in JSON: as text where they are UTF-8, else in hexadecimal digits in a field beside it.
enum RestoreOrderText {
    static func set(_ names: [[UInt8]], _ field: String, in fields: inout [String: JSONValue]) {
        var texts: [JSONValue] = []
        var others: [JSONValue] = []
        for name in names {
            if let text = String(validating: name, as: UTF8.self) {
                texts.append(.string(text))
            } else {
                others.append(.string(Hex.encode(name)))
            }
        }
        fields[field] = .array(texts)
        if !others.isEmpty { fields[field + "_hex"] = .array(others) }
    }

    static func read(_ field: String, of fields: JSONFields, atMost limit: Int) throws -> [[UInt8]] {
        var names = fields.has(field) ? try fields.strings(field, atMost: limit).map { Array($0.utf8) } : []
        guard fields.has(field + "_hex") else { return names }
        for text in try fields.strings(field + "_hex", atMost: limit) {
            guard let name = Hex.decode(text) else { throw fields.wrong(field + "_hex") }
            names.append(name)
        }
        return names
    }
}
