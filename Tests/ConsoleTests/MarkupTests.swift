import Browsing
import Server
import Testing

@testable import Console

@Suite("What stands in pages")
struct MarkupTests {
    @Test("text is escaped, pieces go in as they are, and nothing changes the direction of writing")
    func escaping() {
        let name = "<script>alert('1')</script>&\""
        let page: HTML = "<td title=\"\(name)\">\(name)\(7)\("<b>bold</b>" as HTML)</td>"
        let safe = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"
        #expect(page.source == "<td title=\"\(safe)\">\(safe)7<b>bold</b></td>")
        let turned: HTML = "\("cod\u{202E}txt.exe\u{7}\n")"
        #expect(turned.source == "cod\u{FFFD}txt.exe\u{FFFD}\n")
    }

    @Test("any bytes go into an address and come back", arguments: 0..<4)
    func addresses(round: Int) {
        var bytes = (0...255).map { UInt8($0) }
        bytes = Array(bytes[(round * 64)...]) + Array(bytes[..<(round * 64)])
        let text = Address.encode(bytes)
        #expect(text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "&") && $0 != UInt8(ascii: "\"") })
        #expect(Address.decode(text) == bytes)
        #expect(FormFields("a=1&path=\(text)&a=2").bytes("path") == bytes)
    }

    @Test("broken escapes are no bytes, and a form's plus is a space")
    func brokenAddresses() {
        for text in ["%", "%4", "%zz", "a%"] { #expect(Address.decode(text) == nil, "\(text)") }
        let fields = FormFields("name=anna+maria&broken=%zz&empty=&pick=1&pick=2")
        #expect(fields.text("name") == "anna maria")
        #expect(fields.bytes("broken") == nil && fields.bytes("empty") == [])
        #expect(fields.all("pick") == [[0x31], [0x32]])
        #expect(fields.number("pick", in: 0...1) == 1 && fields.number("pick", in: 2...3) == nil)
    }

    @Test("a redirect leads nowhere else")
    func redirects() {
        for path in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nSet-Cookie: b=c", "evil"] {
            #expect(ServerAnswerLocation.of(.redirect(path)) == "/", "\(path)")
        }
        #expect(ServerAnswerLocation.of(.redirect("/machines?state=offline")) == "/machines?state=offline")
    }

    @Test("names of downloads are plain for old browsers and right for others, and end no header")
    func dispositions() {
        #expect(
            DownloadPages.disposition(Array("a \"b\"\r\nX: y.txt".utf8))
                == "attachment; filename=\"a _b___X: y.txt\"; filename*=UTF-8''a%20%22b%22%0D%0AX%3A%20y.txt")
    }

    @Test("a spreadsheet takes no name for a formula")
    func tables() {
        #expect(CSV.field("=cmd|' /C calc'!A0") == "\"'=cmd|' /C calc'!A0\"")
        #expect(CSV.field("say \"hi\", twice") == "\"say \"\"hi\"\", twice\"")
    }

    @Test("a difference shows what went and what came, and equal lines around it only")
    func differences() {
        let old = (1...40).map { "line \($0)" }
        var new = old
        new[19] = "another"
        new.insert("between", at: 30)
        let shown = DifferenceView.show(old.joined(separator: "\n"), new.joined(separator: "\n")).source
        #expect(shown.contains("<del>- line 20</del>\n<ins>+ another</ins>"))
        #expect(shown.contains("<ins>+ between</ins>"))
        #expect(shown.contains("16 equal lines") && !shown.contains("line 5<"))
        #expect(DifferenceView.show("same", "same").source.contains("the same"))
    }

    @Test("pictures are known by their beginnings, and what can hold script is none")
    func pictures() {
        #expect(Picture.type(of: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0]) == "image/png")
        #expect(Picture.type(of: [0xFF, 0xD8, 0xFF, 0xE0]) == "image/jpeg")
        #expect(Picture.type(of: Array("<svg onload=alert(1)>".utf8)) == nil)
        #expect(TextPreview.text(Array("plain\ttext\n".utf8), isWhole: true) == "plain\ttext\n")
        #expect(TextPreview.text([0x61, 0xC3], isWhole: true) == nil)
        #expect(TextPreview.text([0x61, 0xC3], isWhole: false) == "a")
        #expect(TextPreview.text([0x61, 0x00], isWhole: true) == nil)
    }

    @Test("what is to be typed into a shell means what it says")
    func shellWords() {
        #expect(ShellWord.quote("/home/ann/notes.txt@3fa9") == "/home/ann/notes.txt@3fa9")
        #expect(ShellWord.quote("it's $HOME") == "'it'\\''s $HOME'")
        #expect(ShellWord.quote("") == "''")
    }
}
