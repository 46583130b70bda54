import Foundation
import Glibc
import Synchronization
import Testing

@testable import Platform

/// A terminal made for a test: what is written to `master` is typed, what is read from it is shown.
private final class PseudoTerminal: Sendable {
    let master: Int32
    let terminal: Int32

    init() throws {
        // What posix_openpt, unlockpt and ptsname do; Swift's Glibc hides those.
        master = try FileDescriptor.open("/dev/ptmx", .readWrite).release()
        var unlocked: Int32 = 0
        var number: UInt32 = 0
        guard ioctl(master, 0x4004_5431, &unlocked) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
            throw Errno.noDevice
        }
        terminal = try FileDescriptor.open("/dev/pts/\(number)", .readWrite).release()
    }

    deinit {
        close(terminal)
        close(master)
    }

    func type(_ text: String) { _ = text.withCString { write(master, $0, strlen($0)) } }

    /// Reads what is shown until `text` is among it.
    func shown(until text: String) -> String {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 256)
        while !String(decoding: all, as: UTF8.self).contains(text) {
            let count = read(master, &buffer, buffer.count)
            if count <= 0 { break }
            all += buffer[..<count]
        }
        return String(decoding: all, as: UTF8.self)
    }

    var echoes: Bool {
        var settings = termios()
        tcgetattr(terminal, &settings)
        return settings.c_lflag & tcflag_t(ECHO) != 0
    }
}

@Suite(.timeLimit(.minutes(30))) struct TerminalTests {
    /// Asks on a terminal where `typed` is entered once the prompt is shown; returns what came of it and was shown.
    private func ask(_ pseudo: PseudoTerminal, typing typed: String) throws -> (Result<[UInt8], Errno>, String) {
        let answer = Mutex<Result<[UInt8], Errno>?>(nil)
        let thread = try WorkerThread(name: "ask") {
            do throws(Errno) {
                let bytes = try Terminal.readPassphrase(from: pseudo.terminal, prompt: "Passphrase: ")
                answer.withLock { $0 = .success(bytes) }
            } catch {
                answer.withLock { $0 = .failure(error) }
            }
        }
        var shown = pseudo.shown(until: "Passphrase: ")
        #expect(!pseudo.echoes)
        pseudo.type(typed)
        shown += pseudo.shown(until: "\n")
        thread.join()
        return (try #require(answer.withLock { $0 }), shown)
    }

    @Test("a passphrase is read without being shown, and the echo comes back")
    func passphrase() throws {
        let pseudo = try PseudoTerminal()
        #expect(Terminal.isTerminal(pseudo.terminal))
        #expect(pseudo.echoes)
        let (answer, shown) = try ask(pseudo, typing: "geheim ü x\n")
        #expect(try answer.get() == Array("geheim ü x".utf8))
        #expect(!shown.contains("geheim"))
        #expect(pseudo.echoes)
        let (empty, _) = try ask(pseudo, typing: "\n")
        #expect(try empty.get() == [])
    }

    @Test("end of input and a line that is too long are errors, and the echo comes back")
    func errors() throws {
        let pseudo = try PseudoTerminal()
        let (end, _) = try ask(pseudo, typing: "\u{04}")
        #expect(throws: Errno.noData) { try end.get() }
        #expect(pseudo.echoes)
        let (long, _) = try ask(pseudo, typing: String(repeating: "x", count: 1_500) + "\n")
        #expect(throws: Errno.overflow) { try long.get() }
        #expect(pseudo.echoes)
    }

    @Test("what is not a terminal is refused")
    func noTerminal() throws {
        let null = try FileDescriptor.open("/dev/null", .readWrite)
        #expect(throws: Errno.notSupportedRequest) { try Terminal.readPassphrase(from: null.raw, prompt: "?") }
    }

    @Test("a secret is overwritten")
    func erase() {
        var secret = Array("secret".utf8)
        Terminal.erase(&secret)
        #expect(secret == [0, 0, 0, 0, 0, 0])
    }
}

@Suite(.timeLimit(.minutes(30))) struct SignalTests {
    @Test("a signal sets the flag, wakes who waits, and interrupts no reading")
    func signals() async {
        await #expect(processExitsWith: .success) {
            try Signals.install()
            guard Signals.received == nil, try !Signals.wait(milliseconds: 1) else { exit(1) }
            let ends = try FileDescriptor.pipe()
            let reading = FileDescriptor(owning: ends.reading)
            let reader = pthread_self()
            let writing = ends.writing
            // Threads of the pool block signals.
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_UNBLOCK, &all, nil)
            // Signals arrive while this thread waits for input; then the input does.
            let thread = try WorkerThread(name: "sender") {
                for _ in 0..<20 {
                    usleep(2_000)
                    pthread_kill(reader, SIGTERM)
                }
                var byte: UInt8 = 7
                write(writing, &byte, 1)
                close(writing)
            }
            let bytes = try reading.readAll(limit: 10)
            thread.join()
            guard bytes == [7], Signals.received == SIGTERM, try Signals.wait(milliseconds: 1) else { exit(2) }
            guard Signals.name(SIGTERM) == "SIGTERM" else { exit(3) }
            Signals.reset()
            guard Signals.received == nil, try !Signals.wait(milliseconds: 1) else { exit(4) }
            // The first one stays, whatever comes later.
            kill(getpid(), SIGINT)
            guard try Signals.wait(milliseconds: 5_000) else { exit(5) }
            kill(getpid(), SIGTERM)
            guard Signals.received == SIGINT else { exit(6) }
            exit(0)
        }
    }

    @Test("writing to a closed pipe is an error, not the end of the process")
    func pipe() async {
        await #expect(processExitsWith: .success) {
            try Signals.install()
            let ends = try FileDescriptor.pipe()
            close(ends.reading)
            let writing = FileDescriptor(owning: ends.writing)
            do throws(Errno) {
                try writing.writeAll([1])
                exit(1)
            } catch {
                exit(error.name == "EPIPE" ? 0 : 2)
            }
        }
    }
}
