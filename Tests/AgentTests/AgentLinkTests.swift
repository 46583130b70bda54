import Capture
import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Agent

/// Files with several names, of which the kernel tells the one that was used.
@Suite("The agent and files with several names", .serialized, .enabled(if: canWatch))
struct AgentLinkTests {
    @Test("what is written through one name while the capture of the others is not stored yet is in all of them")
    func writtenBeforeStored() throws {
        guard let fixture = try AgentFixture() else { return }
        fixture.put("a", "one")
        let agent = try fixture.start(settle: 60)
        // The kernel tells the name that is used, and the file's handle leads to the newest one.
        for name in ["b", "c"] { #expect(link("\(fixture.root)/a", "\(fixture.root)/\(name)") == 0) }
        let path = "\(fixture.root)/a"
        fixture.service.duringCommit {
            // All names have been looked at, and the agent knows of none of them yet that it has others.
            writeAgain(path, "two")
            waitForFacts(agent)
        }
        try fixture.settle()
        try fixture.settle()
        for name in ["a", "b", "c"] { #expect(try fixture.newest(name) == Array("two".utf8)) }
        try fixture.checkNewest()
    }

    @Test("what is written through a name outside of what is protected is in the name inside")
    func writtenOutside() throws {
        guard let fixture = try AgentFixture() else { return }
        let outside = "\(fixture.root)-outside"
        for name in ["a", "b"] { fixture.put(name, "one") }
        try fixture.start(settle: 0.2)
        #expect(link("\(fixture.root)/a", outside) == 0)
        for text in ["two", "three", "four"] {
            writeAgain(outside, text)
            try fixture.settle()
            #expect(try fixture.newest("a") == Array(text.utf8))
        }
        // Without being asked, too.
        let points = try fixture.points().count
        writeAgain(outside, "five")
        try fixture.waits { $0.points >= UInt64(points + 1) && $0.lag == 0 }
        #expect(try fixture.newest("a") == Array("five".utf8))
    }

    @Test("which files are uncertain: asked for, and something was learnt since all was searched")
    func uncertain() {
        let links = LinkMap()
        let file = CaptureSource.FileNode(device: 1, inode: 2)
        let group = LinkGroup(device: 1, inode: 2)
        func found(_ name: String, links: Bool = true) -> CachedEntry {
            var entry = Entry(kind: .regular, mode: 0o644)
            if links { entry.linkGroup = group }
            return CachedEntry(
                key: TreePath("/\(name)")?.key ?? [],
                identity: FileIdentity(device: 1, inode: 2, changeTime: FileTime(seconds: 0, nanoseconds: 0)),
                entry: entry, contentHash: nil, chunks: [], pieces: [])
        }
        #expect(links.takeUncertain() == [])
        #expect(links.names(of: file) == ([], true))
        #expect(links.names(of: file) == ([], false))
        #expect(links.takeUncertain() == [group])
        // Searched for; nothing new.
        #expect(links.names(of: file) == ([], false))
        #expect(links.takeUncertain() == [])
        // Asked for, then learnt: whoever asked did not hear of it.
        #expect(links.names(of: file) == ([], false))
        links.note(found("a"))
        #expect(links.takeUncertain() == [group])
        #expect(links.names(of: file) == ([TreePath("/a")!], false))
        #expect(links.takeUncertain() == [])
        // A name that had no others when it was captured is no other's name yet, but may be found.
        links.note(found("b", links: false))
        #expect(links.names(of: file) == ([TreePath("/a")!], true))
        #expect(links.takeUncertain() == [group])
        // A scan begins: what was asked for before it is searched for after it.
        #expect(links.names(of: file) == ([TreePath("/a")!], false))
        links.forget()
        #expect(links.takeUncertain() == [group])
    }

    @Test("when more files were asked for than are remembered, that is said")
    func overfull() {
        let links = LinkMap()
        for inode in 0...200_001 as ClosedRange<UInt64> {
            _ = links.names(of: CaptureSource.FileNode(device: 1, inode: inode))
        }
        #expect(links.takeUncertain() == nil)
        #expect(links.takeUncertain() == [])
    }
}

private func writeAgain(_ path: String, _ text: String) {
    let file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
    _ = text.withCString { write(file, $0, strlen($0)) }
    close(file)
}

/// Waits until the watch has told something.
private func waitForFacts(_ agent: AgentService) {
    let end = ContinuousClock.now + .seconds(30)
    while agent.state.withLock({ $0.settling.isEmpty }), ContinuousClock.now < end { usleep(1_000) }
}
