import Model
import Platform
import Synchronization

/// Where a command speaks: results on standard output, everything else on standard error.
///
/// With `--json` results and events are objects, one a line; people's lines are left out. With `--quiet` only results,
/// warnings and errors appear. Safe to use from several threads.
final class Console: Sendable {
    let isJSON: Bool
    let isQuiet: Bool
    /// Whether standard error is a terminal on which a line may be written over.
    let isInteractive: Bool
    /// The clocks of this machine.
    let zone: TimeZoneRules

    private let coloursResults: Bool
    private let coloursNotes: Bool
    private let state = Mutex(State())

    private struct State {
        var pending: [UInt8] = []
        /// Columns of the progress line that stands on the terminal now.
        var transientWidth = 0
        var warnings = 0
    }

    init(isJSON: Bool, isQuiet: Bool) {
        self.isJSON = isJSON
        self.isQuiet = isQuiet
        let wantsColour = (Machine.environment("NO_COLOR") ?? "").isEmpty && Machine.environment("TERM") != "dumb"
        isInteractive = Terminal.isTerminal(2) && !isJSON && Machine.environment("TERM") != "dumb"
        coloursResults = wantsColour && Terminal.isTerminal(1)
        coloursNotes = wantsColour && Terminal.isTerminal(2)
        zone = LocalZone.current
    }

    // MARK: Results

    /// A line of the result for people; nothing with `--json`.
    func line(_ text: String = "") throws {
        if !isJSON { try write(text) }
    }

    /// A table for people; nothing with `--json`.
    func table(_ table: Table) throws {
        if isJSON { return }
        for text in table.lines(emphasise: { coloursResults ? Style.bold.applied(to: $0) : $0 }) { try write(text) }
    }

    /// An object of the machine-readable result; nothing without `--json`. `type` says what it is.
    func emit(_ type: String, _ fields: [String: JSON]) throws {
        guard isJSON else { return }
        var fields = fields
        fields["type"] = .string(type)
        try write(JSON.object(fields).line)
        // Events are for somebody who watches.
        if type == "progress" || type == "warning" { try flush() }
    }

    /// Bytes of the result as they are.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        try state.withLock { state in
            if bytes.count > 64 << 10 {
                try Console.flush(&state)
                try Console.send(bytes)
            } else {
                state.pending.append(contentsOf: bytes)
                if state.pending.count >= 64 << 10 { try Console.flush(&state) }
            }
        }
    }

    private func write(_ text: String) throws {
        try state.withLock { state in
            state.pending.append(contentsOf: text.utf8)
            state.pending.append(UInt8(ascii: "\n"))
            if state.pending.count >= 64 << 10 { try Console.flush(&state) }
        }
    }

    /// Hands everything written so far to the system.
    func flush() throws { try state.withLock { try Console.flush(&$0) } }

    private static func flush(_ state: inout State) throws {
        if state.pending.isEmpty { return }
        defer { state.pending.removeAll(keepingCapacity: true) }
        try state.pending.withUnsafeBytes { try send($0) }
    }

    private static func send(_ bytes: UnsafeRawBufferPointer) throws {
        do {
            try standardOutput.writeAll(bytes)
        } catch {
            // Whoever read has gone, as `head` does: not a failure to talk about.
            if error == Errno(code: 32) { throw OutputClosed() }
            throw HoldfastError(.io, "Cannot write to standard output: \(error)", cause: error)
        }
    }

    // MARK: Notes

    /// Something that helps a person who watches; not with `--quiet` or `--json`.
    func note(_ text: String) {
        if !isQuiet && !isJSON { sayBeside(text) }
    }

    /// Something that went not quite well; the command ends with status 3.
    func warn(_ message: String, fields: [String: JSON] = [:]) {
        state.withLock { $0.warnings += 1 }
        if isJSON {
            var fields = fields
            fields["message"] = .string(message)
            // A closed output is noticed by the next result.
            try? emit("warning", fields)
        } else {
            sayBeside("holdfast: \(coloured("warning:", .yellow)) \(message)")
        }
    }

    /// How many warnings there were.
    var warnings: Int { state.withLock { $0.warnings } }

    /// What went wrong, in the form the user asked for.
    func report(_ error: HoldfastError) {
        let hint = ErrorHints.hint(for: error)
        if isJSON {
            var fields: [String: JSON] = [
                "type": .string("error"), "code": .string(error.code.description), "message": .string(error.message),
                "temporary": .bool(error.isTemporary),
            ]
            if let hint { fields["hint"] = .string(hint) }
            let context = error.context.filter { $0.key != "hint" }
            if !context.isEmpty { fields["context"] = .object(context.mapValues { .string($0) }) }
            sayBeside(JSON.object(fields).line)
            return
        }
        sayBeside("holdfast: \(error.message)")
        if let hint { sayBeside(coloured("hint: ", .dim) + hint) }
    }

    /// Puts `text` on the terminal's last line, over what stood there; `nil` clears it. For `ProgressView`.
    func showTransient(_ text: String?) {
        state.withLock { state in
            guard isInteractive, text != nil || state.transientWidth > 0 else { return }
            let width = text.map(Table.width) ?? 0
            let blanks = String(repeating: " ", count: max(0, state.transientWidth - width))
            Console.sendBeside("\r" + (text ?? "") + blanks + (text == nil ? "\r" : ""))
            state.transientWidth = width
        }
    }

    private func sayBeside(_ text: String) {
        state.withLock { state in
            // A warning pushes the progress line down instead of being mixed with it.
            let clear =
                state.transientWidth > 0 ? "\r" + String(repeating: " ", count: state.transientWidth) + "\r" : ""
            state.transientWidth = 0
            // What was printed before stays before, also when both go to one terminal or file.
            try? Console.flush(&state)
            Console.sendBeside(clear + text + "\n")
        }
    }

    private static func sendBeside(_ text: String) {
        // There is nowhere left to complain.
        try? standardError.writeAll(Array(text.utf8))
    }

    // MARK: Questions

    /// Whether there is a person to ask: at a terminal, and the output is not for a program.
    var canAsk: Bool { !isJSON && Terminal.isTerminal(0) && Terminal.isTerminal(2) }

    /// Whether the person at the terminal says yes.
    func confirms(_ question: String) throws -> Bool {
        try flush()
        do {
            let answer = try Terminal.readAnswer(prompt: "\(question) [y/N] ")
            return ["y", "yes"].contains(String(decoding: answer, as: UTF8.self).lowercased())
        } catch {
            if let signal = Signals.received { throw Interrupted(signal: signal) }
            if error == .noData { return false }
            throw HoldfastError(.io, "The question cannot be asked: \(error).", cause: error)
        }
    }

    // MARK: Colours

    /// `text` in a style for notes; plain when standard error is no terminal or NO_COLOR is set.
    func coloured(_ text: String, _ style: Style) -> String { coloursNotes ? style.applied(to: text) : text }

    /// `text` in a style for results.
    func styled(_ text: String, _ style: Style) -> String { coloursResults ? style.applied(to: text) : text }
}

/// The descriptors that every program gets; never closed.
private let standardOutput = FileDescriptor(owning: 1)
private let standardError = FileDescriptor(owning: 2)

/// Somebody closed standard output early.
struct OutputClosed: Error {}

/// The few styles of the terminal that are used.
enum Style: String {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"

    func applied(to text: String) -> String { "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" }
}
