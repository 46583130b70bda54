import Catalog
import Client
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Server

@Suite("What is told while it happens")
struct EventTests {
    /// Says what is put here, then ends.
    private final class Source: Sendable {
        private let words = Mutex<[String?]>([])
        init(_ words: [String?]) { self.words.withLock { $0 = words } }
        func next() -> String? { words.withLock { $0.isEmpty ? "" : $0.removeFirst() } }
    }

    private static func page(_ source: Source, _ views: Turnstile) -> Operation {
        Operation("GET", "/words", "Words, for a test.", tag: "test", access: .open) { _, _ in
            guard let place = views.enter("one") else { return ServerAnswer(status: 503) }
            var answer = ServerAnswer()
            answer.events = ServerAnswer.Events(place: place) { source.next() }
            return answer
        }
    }

    @Test("words come one after the other without a thread, the end ends the answer, and the place is free again")
    func stream() async throws {
        let views = Turnstile(maximum: 4, ofHolder: 1)
        let source = Source([LiveEvent.text("change", "1"), "", LiveEvent.text("change", "2"), nil])
        // With one thread nobody else could be served if one waited.
        let server = try await ServerFixture.start {
            $0.threads = 1
            $0.pages = [Self.page(source, views)]
        }
        try await ServerFixture.blocking {
            let listener = try RawConnection(server.address, encrypts: true)
            try listener.write("GET /words HTTP/1.1\r\nHost: x\r\n\r\n")
            let first = listener.read(seconds: 60) { $0.contains("data: 1") }.text
            #expect(first.hasPrefix("HTTP/1.1 200") && first.lowercased().contains("content-type: text/event-stream"))
            #expect(first.contains("retry: 3000"))
            let second = try RawConnection(server.address, encrypts: true)
            try second.write("GET /words HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(
                second.read(seconds: 60) { $0.contains("\r\n\r\n") }.text.hasPrefix("HTTP/1.1 503"), "one is enough")
            let exchange = try RawClient(server).send("GET", "/api/v1/identity", as: .nobody)
            #expect(exchange.status == 200)
            let all = listener.read(seconds: 60) { $0.hasSuffix("0\r\n\r\n") }.text
            #expect(all.contains("data: 2") && all.hasSuffix("0\r\n\r\n"))
            for _ in 0..<200 where views.count > 0 { SystemClock.pause(milliseconds: 10) }
            #expect(views.count == 0)
        }
    }

    @Test("who listens and goes away gives the place back")
    func gone() async throws {
        let views = Turnstile(maximum: 4, ofHolder: 1)
        let source = Source((0..<100).map { LiveEvent.text("change", "\($0)") })
        let server = try await ServerFixture.start { $0.pages = [Self.page(source, views)] }
        try await ServerFixture.blocking {
            do {
                let listener = try RawConnection(server.address, encrypts: true)
                try listener.write("GET /words HTTP/1.1\r\nHost: x\r\n\r\n")
                _ = listener.read(seconds: 60) { $0.contains("data: 1") }
                #expect(views.count == 1)
            }
            // Who hangs up waits some seconds for the other side to say goodbye; the source would go on for a hundred.
            for _ in 0..<4_000 where views.count > 0 { SystemClock.pause(milliseconds: 10) }
            #expect(views.count == 0)
        }
    }

    @Test("looking at a session keeps none alive, and one that has ended is known to have")
    func sessions() async throws {
        let clock = TestClock()
        let server = try await ServerFixture.start(clock: clock)
        let accounts = server.core.accounts
        let (_, link) = try accounts.create(name: "ann", role: .administrator, by: "test", from: "")
        _ = try accounts.setPassword(link: link.text, "a few words that mean nothing", address: "")
        guard
            case .done(let cookie, _) = try accounts.signIn(
                name: "ann", password: "a few words that mean nothing", code: nil, address: "", browser: "")
        else {
            Issue.record("not signed in")
            return
        }
        let visitor = try #require(try accounts.visitor(cookie.text))
        #expect(accounts.isOpen(visitor))
        clock.advance(seconds: 3_000)
        #expect(try accounts.visitor(cookie.text, isThere: false) != nil && accounts.isOpen(visitor))
        clock.advance(seconds: 700)
        #expect(!accounts.isOpen(visitor), "an hour without anybody there")
        #expect(try accounts.visitor(cookie.text) == nil)
    }
}
