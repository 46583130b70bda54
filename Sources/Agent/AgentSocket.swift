import Capture
import Model
import Platform
import Synchronization
package import Vault

/// Questions to an agent that runs: one line of JSON each way, and after the answer what it announces.
///
/// There are two sockets: in the state directory, which only its owner may enter, one for everything; and in the runtime
/// directory one for everybody on the machine, who may ask for their own files in the local history.
package enum AgentSocket {
    /// The name of both sockets.
    package static let name = "agent.socket"
    /// Where everybody finds the agent.
    package static let publicDirectory = Array("/run/holdfast".utf8)
    private static let maximumLength = 1 << 20

    /// What a question is answered with.
    package enum Reply {
        case fields([String: JSONValue])
        /// A line, and bytes after it until the end. An error in between cuts them short.
        case stream([String: JSONValue], (_ write: (UnsafeRawBufferPointer) throws -> Void) throws -> Void)
    }

    /// Asks the agent of a state directory.
    ///
    /// - Parameter question: with a `command`: `status` or `backup`.
    /// - Throws: `notFound` when no agent runs there; what the agent answers as an error.
    package static func ask(_ question: [String: JSONValue], state: [UInt8]) throws -> JSONFields {
        let answer: [UInt8]
        do {
            let socket = try LocalSocket.connect(directory: state, name: name)
            try socket.writeAll(JSONValue.object(question).encoded() + [UInt8(ascii: "\n")])
            answer = try socket.readAll(limit: maximumLength)
        } catch {
            throw HoldfastError(
                .notFound, "No agent runs on this machine with the state directory \(TreePath.display(state)).",
                context: ["hint": "Start one: holdfast agent run --protect PATH --vault LOCATION"], cause: error)
        }
        return try fields(answer)
    }

    /// What the agent answers; throws what it answers as an error.
    private static func fields(_ answer: [UInt8]) throws -> JSONFields {
        let fields = try JSONFields(parsing: answer, document: "the agent's answer")
        if fields.has("error") {
            throw HoldfastError(
                HoldfastError.Code(fields.has("code") ? try fields.string("code") : "io"), try fields.string("error"))
        }
        return fields
    }

    /// Asks, and gives the bytes that come after the line of the answer to `body`.
    ///
    /// - Throws: what the agent answers as an error, `io` when the bytes are fewer than the answer's `length`.
    package static func stream(
        _ question: [String: JSONValue], directory: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let socket = try connect(directory)
        do throws(Errno) { try socket.writeAll(JSONValue.object(question).encoded() + [UInt8(ascii: "\n")]) } catch {
            throw broken(error)
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        var line: [UInt8] = []
        var expected: UInt64?
        var count: UInt64 = 0
        while true {
            let length: Int
            do throws(Errno) { length = try socket.read(into: buffer) } catch { throw broken(error) }
            if length == 0 { break }
            var bytes = UnsafeRawBufferPointer(rebasing: buffer[..<length])
            if expected == nil {
                guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
                    line += bytes
                    if line.count > maximumLength { throw broken(nil) }
                    continue
                }
                line += bytes[..<end]
                let fields = try fields(line)
                expected = UInt64(try fields.integer("length", in: 0...Int64.max))
                bytes = UnsafeRawBufferPointer(rebasing: bytes[(end + 1)...])
            }
            count += UInt64(bytes.count)
            if !bytes.isEmpty { try body(bytes) }
        }
        if expected == nil { _ = try fields(line) }
        guard count == expected else {
            throw HoldfastError(
                .damaged, "The agent has given only a part: the rest is not kept on this machine any more, or it ended."
            )
        }
    }

    private static func broken(_ error: Errno?) -> HoldfastError {
        HoldfastError(.io, "The agent on this machine does not answer as it should.", cause: error)
    }

    private static func connect(_ directory: [UInt8]) throws -> FileDescriptor {
        do throws(Errno) { return try LocalSocket.connect(directory: directory, name: name) } catch {
            throw HoldfastError(.notFound, "No agent on this machine can be asked: \(error).", cause: error)
        }
    }

    /// Serves questions until `stop`.
    package final class Server: Sendable {
        private let listener: LocalListener
        private let wakeUp: WakeUp
        private let isStopping = Atomic<Bool>(false)
        private let thread = Mutex<WorkerThread?>(nil)

        /// Questions that are answered at once.
        private static let mostAtOnce = 32
        /// And of one user, so that nobody keeps all others out. A socket in a private directory has one user.
        private static let mostOfOne = 8
        private let atOnce = Mutex<[UInt32: Int]>([:])
        private let isOpen: Bool

        /// - Parameters:
        ///   - isOpen: everybody who can enter the directory may ask.
        ///   - answer: called on a thread of its own for each question.
        package init(
            directory: [UInt8], isOpen: Bool = false,
            _ answer: @escaping @Sendable (JSONFields, LocalPerson) throws -> Reply
        ) throws {
            do throws(Errno) {
                self.isOpen = isOpen
                listener = try LocalListener(directory: directory, name: AgentSocket.name, isOpen: isOpen)
                wakeUp = try WakeUp()
                let worker = try WorkerThread(name: "socket") { [self] in run(answer) }
                thread.withLock { $0 = worker }
            } catch {
                throw HoldfastError(
                    .io, "the agent's socket in \(TreePath.display(directory)) cannot be made: \(error)", cause: error)
            }
        }

        package func stop() {
            isStopping.store(true, ordering: .releasing)
            wakeUp.signal()
            thread.withLock { thread in
                defer { thread = nil }
                return thread
            }?.join()
        }

        private func run(_ answer: @escaping @Sendable (JSONFields, LocalPerson) throws -> Reply) {
            while true {
                let happened = try? Poll.wait(
                    for: [(wakeUp.raw, .readable), (listener.raw, .readable)], milliseconds: nil)
                if isStopping.load(ordering: .acquiring) { return }
                guard happened?.last == true else { continue }
                guard let socket = try? listener.accept(seconds: 60) else {
                    // No room for another one, which stays there and would be seen again at once.
                    _ = try? Poll.wait(for: [(wakeUp.raw, .readable)], milliseconds: 200)
                    continue
                }
                guard let who = try? LocalSocket.peer(socket) else { continue }
                let connection = Connection(socket, LocalPerson(uid: who.uid, gid: who.gid, groups: who.groups))
                // One that takes long must not keep the others waiting; too many are told to come back.
                let isBusy = !enter(who.uid)
                let worker = try? WorkerThread(name: "answer") { [self] in
                    if isBusy { return connection.refuse() }
                    connection.serve(answer)
                    leave(who.uid)
                }
                if worker == nil, !isBusy { leave(who.uid) }
            }
        }

        private func enter(_ user: UInt32) -> Bool {
            atOnce.withLock { atOnce in
                let own = atOnce[user] ?? 0
                let all = atOnce.values.reduce(0, +)
                guard all < Server.mostAtOnce, !isOpen || own < Server.mostOfOne else { return false }
                atOnce[user] = own + 1
                return true
            }
        }

        private func leave(_ user: UInt32) {
            atOnce.withLock { atOnce in
                guard let own = atOnce[user] else { return }
                atOnce[user] = own > 1 ? own - 1 : nil
            }
        }
    }

    private final class Connection: Sendable {
        private let socket: FileDescriptor
        private let person: LocalPerson

        init(_ socket: consuming FileDescriptor, _ person: LocalPerson) {
            self.socket = socket
            self.person = person
        }

        func refuse() { send(["error": .string("The agent is busy; ask again."), "code": .string("busy")]) }

        func serve(_ answer: (JSONFields, LocalPerson) throws -> Reply) {
            do {
                let asked = try JSONFields(parsing: try question(), document: "the question")
                switch try answer(asked, person) {
                case .fields(let fields): send(fields)
                case .stream(let fields, let write):
                    send(fields, newline: true)
                    // Who reads sees by the length that it was cut short.
                    try? write { bytes in try socket.writeAll(bytes) }
                }
            } catch {
                let known = error as? HoldfastError
                send([
                    "error": .string(known?.message ?? String(describing: error)),
                    "code": .string(known?.code.description ?? "io"),
                ])
            }
        }

        private func send(_ fields: [String: JSONValue], newline: Bool = false) {
            try? socket.writeAll(JSONValue.object(fields).encoded() + (newline ? [UInt8(ascii: "\n")] : []))
        }

        /// How long a question may take, in nanoseconds.
        private static let patience: Int64 = 10_000_000_000

        private func question() throws -> [UInt8] {
            var bytes: [UInt8] = []
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
            defer { buffer.deallocate() }
            // Who sends it drop by drop holds a place no longer than who is silent.
            let end = SystemClock.monotonic + Connection.patience
            while bytes.count < 65_536, SystemClock.monotonic < end {
                let count = try socket.read(into: buffer)
                bytes.append(contentsOf: buffer[..<count])
                if count == 0 || bytes.last == UInt8(ascii: "\n") { break }
            }
            return bytes
        }
    }
}

extension AgentStatus {
    /// For the socket; times and durations in nanoseconds.
    package var fields: [String: JSONValue] {
        func number(_ value: some BinaryInteger) -> JSONValue { .integer(Int64(clamping: value)) }
        var fields: [String: JSONValue] = [
            "activity": .string(activity.rawValue),
            "paths": .array(roots.map { .string($0.displayText) }),
            "lag": .integer(lag), "waiting": number(waiting), "points": number(points), "scans": number(scans),
            "scan_reasons": .array(scanReasons.map { .string($0) }),
            "not_kept_count": number(notKeptCount),
            "spooled": .bool(spooled), "spool_bytes": number(spoolBytes), "spool_full": .bool(isSpoolFull),
            "file_systems": .array(
                fileSystems.map { system in
                    var row: [String: JSONValue] = [
                        "mount_point": .string(system.mountPoint.displayText), "kind": .string(system.type),
                        "overflows": number(system.overflows),
                    ]
                    switch system.mode {
                    case .events: row["mode"] = .string("events")
                    case .scan(let reason):
                        row["mode"] = .string("scan")
                        row["reason"] = .string(reason)
                    }
                    return .object(row)
                }),
            "not_kept": .array(
                notKept.map { warning in
                    .object([
                        "path": .string("/" + TreePath.display(warning.path)), "text": .string(warning.text),
                    ])
                }),
        ]
        if let statistics {
            fields["files"] = number(statistics.files)
            fields["bytes"] = number(statistics.bytes)
            fields["entries"] = number(statistics.entries)
        }
        if let lastPoint {
            fields["last_point"] = .string(lastPoint.point.hex)
            fields["last_number"] = number(lastPoint.number)
        }
        if let lastTime { fields["last_time"] = .integer(lastTime.nanoseconds) }
        if let problem { fields["problem"] = .string(problem) }
        return fields
    }
}
