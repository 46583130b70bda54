import Dispatch
import Glibc
package import Logging
import Model
import Platform
import Synchronization
import UnixSignals

/// Runs a server from a thread that blocks until it has ended.
package enum ServerRuntime {
    /// Serves until SIGTERM or SIGINT.
    /// - Parameter bound: called with the port once connections are accepted.
    package static func run(
        _ core: ServerCore, _ options: HTTPServer.Options,
        logger: Logger = ServerLog.logger(format: .text), bound: @escaping @Sendable (Int) -> Void
    ) throws {
        raiseFileLimit()
        let server = HTTPServer(core, options, logger: logger, bound: bound)
        let ended = DispatchSemaphore(value: 0)
        let failure = Mutex<(any Error)?>(nil)
        Task {
            do { try await server.run(signals: [.sigterm, .sigint]) } catch { failure.withLock { $0 = error } }
            ended.signal()
        }
        ended.wait()
        if let error = failure.withLock({ $0 }) { throw ServerRuntime.explain(error, options) }
    }

    /// Serves beside other work of this process, until `stop` is called.
    package static func start(
        _ core: ServerCore, _ options: HTTPServer.Options, logger: Logger
    ) throws -> Running {
        raiseFileLimit()
        let outcome = Monitor<Result<Int, any Error>?>(nil)
        let server = HTTPServer(core, options, logger: logger) { port in outcome.update { $0 = .success(port) } }
        let ended = DispatchSemaphore(value: 0)
        let task = Task {
            do { try await server.run() } catch {
                outcome.update { if $0 == nil { $0 = .failure(error) } }
            }
            ended.signal()
        }
        let running = Running(task: task, ended: ended)
        do {
            return running.listening(on: try outcome.wait { $0 }.get())
        } catch {
            running.stop()
            throw explain(error, options)
        }
    }

    /// A server that runs beside other work.
    package struct Running: Sendable {
        private let task: Task<Void, Never>
        private let ended: DispatchSemaphore
        /// Where it listens.
        package private(set) var port = 0

        fileprivate init(task: Task<Void, Never>, ended: DispatchSemaphore) {
            self.task = task
            self.ended = ended
        }

        fileprivate func listening(on port: Int) -> Running {
            var copy = self
            copy.port = port
            return copy
        }

        /// Ends it, and waits until it has. Requests that are under way are cut off.
        package func stop() {
            task.cancel()
            ended.wait()
            ended.signal()
        }
    }

    /// Every connection and every lease takes a descriptor, and the usual limit is a thousand.
    private static func raiseFileLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = min(limit.rlim_max, 65_536)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private static func explain(_ error: any Error, _ options: HTTPServer.Options) -> any Error {
        let text = "\(error)"
        if text.contains("Address already in use") || text.contains("errno: 98") {
            return HoldfastError(
                .busy, "Another program listens on port \(options.port) already.",
                context: ["hint": "Is a Holdfast server running? Choose another port with --port."], cause: error)
        }
        if text.contains("Permission denied") || text.contains("errno: 13") {
            return HoldfastError(
                .denied, "This user may not listen on port \(options.port).",
                context: ["hint": "Choose a port above 1023 with --port."], cause: error)
        }
        return HoldfastError(.io, "The server ended: \(text)", cause: error)
    }
}
