//! A real browser that looks at pages: Chromium, driven by its own driver. Every look checks that
//! the page asks nobody else, says nothing on the console and has no serious fault of
//! accessibility, and keeps a picture of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds what it does not expect ends there"
)]

mod world;

pub use world::{World, known_refund, lookup, refund};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_aws_tests::{axe, binaries, root};
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use thirtyfour::{
    By, CapabilitiesHelper as _, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver,
    WebElement,
};

/// Most bytes of a picture of the documentation.
const PICTURE_BYTES_MAX: usize = 100_000;

/// What a page is looked at on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Desktop,
    Phone,
    /// As a picture of the documentation has room for.
    Page,
}

impl Screen {
    const fn name(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Phone => "phone",
            Self::Page => "page",
        }
    }

    // In CSS pixels.
    const fn size(self) -> (u32, u32) {
        match self {
            Self::Desktop => (1280, 900),
            Self::Phone => (390, 844),
            Self::Page => (1000, 640),
        }
    }
}

/// Where the driver and the browser are; nothing where one is not installed.
pub fn installed() -> bool {
    let there = |program: &str| {
        let asked = Command::new(program).arg("--version").output();
        asked.is_ok_and(|answer| answer.status.success())
    };
    there("chromedriver") && there("chromium")
}

/// A browser with a profile of its own.
pub struct Browser {
    pub driver: WebDriver,
    service: Child,
    /// The only hosts that pages may ask.
    hosts: Vec<String>,
    axe: String,
}

impl Browser {
    /// Starts one. `url`: whose pages it looks at.
    pub async fn start(url: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let service = Command::new("chromedriver")
            .process_group(0)
            .args([format!("--port={port}"), "--allowed-ips=127.0.0.1".into()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--lang=en"] {
            wanted.add_arg(argument).unwrap();
        }
        wanted.set("goog:loggingPrefs", json!({ "browser": "ALL", "performance": "ALL" })).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        let driver = loop {
            match WebDriver::new(format!("http://127.0.0.1:{port}"), wanted.clone()).await {
                Ok(driver) => break driver,
                Err(error) if Instant::now() > until => panic!("no browser: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        Self { driver, service, hosts: vec![host(url)], axe: axe() }
    }

    /// It is led to another host, too.
    pub fn is_led_to(&mut self, url: &str) {
        self.hosts.push(host(url));
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Makes the window that of a device.
    pub async fn turn_to(&self, screen: Screen) {
        let (width, height) = screen.size();
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1,
                "mobile": screen == Screen::Phone }),
        )
        .await;
    }

    /// Light or dark, as the person's system says.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap()
    }

    /// Looks at the page that is open, on a desktop and on a phone: pictures of it are kept under
    /// its name.
    pub async fn look(&self, name: &str) {
        for screen in [Screen::Desktop, Screen::Phone] {
            self.turn_to(screen).await;
            self.picture(&format!("{name}-{}", screen.name())).await;
            self.fits(name, screen).await;
            self.is_accessible(name, screen).await;
        }
        self.turn_to(Screen::Desktop).await;
        self.is_quiet(name).await;
    }

    /// Keeps a picture of the whole page.
    pub async fn picture(&self, name: &str) {
        let shot = self
            .devtools(
                "Page.captureScreenshot",
                json!({ "format": "png", "captureBeyondViewport": true }),
            )
            .await;
        let folder = pictures();
        fs::create_dir_all(&folder).unwrap();
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// Keeps a picture of what a window of a device shows, as the documentation has it. With
    /// `PICTURES=docs` it is written into the documentation.
    pub async fn window(&self, name: &str, screen: Screen) {
        self.turn_to(screen).await;
        let shot = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        assert!(png.len() <= PICTURE_BYTES_MAX, "{name}: {} bytes", png.len());
        let folder = match std::env::var("PICTURES").as_deref() {
            Ok("docs") => root().join("docs/src/pictures"),
            _ => pictures(),
        };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    // Nothing is cut off or scrolls sideways.
    async fn fits(&self, name: &str, screen: Screen) {
        let script = "return [document.documentElement.scrollWidth, window.innerWidth]";
        let widths: Vec<u64> =
            self.driver.execute(script, Vec::new()).await.unwrap().convert().unwrap();
        assert!(
            widths[0] <= widths[1],
            "{name} on a {} scrolls sideways: {widths:?}",
            screen.name()
        );
    }

    async fn is_accessible(&self, name: &str, screen: Screen) {
        let script = format!(
            "{}; const done = arguments[arguments.length - 1]; \
             axe.run(document, {{ resultTypes: ['violations'] }}).then(r => done(r.violations));",
            self.axe
        );
        let found = self.driver.execute_async(script, Vec::new()).await.unwrap();
        let found = found.json().as_array().unwrap().clone();
        let serious = ["serious", "critical"].map(Value::from);
        let serious: Vec<String> = found
            .iter()
            .filter(|violation| serious.contains(&violation["impact"]))
            .map(|violation| {
                let nodes = violation["nodes"].as_array().unwrap();
                let first: Vec<String> =
                    nodes.iter().take(3).map(|node| node["html"].to_string()).collect();
                format!("{}: {}\n    {}", violation["id"], violation["help"], first.join("\n    "))
            })
            .collect();
        assert!(serious.is_empty(), "{name} on a {}:\n{}", screen.name(), serious.join("\n"));
    }

    /// Says nothing on the console and asked nobody but its own host since the last look.
    pub async fn is_quiet(&self, name: &str) {
        let said: Vec<String> = self
            .driver
            .browser_log()
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.message)
            .collect();
        assert!(said.is_empty(), "{name} says on the console: {said:?}");
        let mut strangers = Vec::new();
        for entry in self.driver.get_log("performance").await.unwrap() {
            let message: Value = serde_json::from_str(&entry.message).unwrap();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["message"]["params"]["request"]["url"].as_str().unwrap().to_owned();
            let of = |host: &String| url.starts_with(&format!("http://{host}/"));
            let own = self.hosts.iter().any(of)
                || ["data:", "blob:", "about:"].iter().any(|kind| url.starts_with(kind));
            if !own {
                strangers.push(url);
            }
        }
        assert!(strangers.is_empty(), "{name} asks {strangers:?}");
    }

    /// The page that is open was refused with a status, which the browser says on its console; and
    /// nothing else.
    pub async fn was_refused(&self, status: u16) {
        let said = self.driver.browser_log().await.unwrap();
        let of = format!("responded with a status of {status}");
        assert!(!said.is_empty() && said.iter().all(|one| one.message.contains(&of)), "{said:?}");
    }

    /// The one element of a selector, waited for.
    pub async fn find(&self, css: &str) -> WebElement {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match self.driver.find(By::Css(css)).await {
                Ok(element) => return element,
                Err(error) if Instant::now() > until => {
                    let source = self.driver.source().await.unwrap_or_default();
                    panic!("no `{css}`: {error}\n{source}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Presses what a person would press, and waits for the page that comes.
    pub async fn press(&self, css: &str) {
        let element = self.find(css).await;
        element.scroll_into_view().await.unwrap();
        element.click().await.unwrap();
    }

    /// Waits until the page says something.
    pub async fn says(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let page = self.text().await;
            if page.contains(text) {
                return;
            }
            assert!(Instant::now() < until, "the page does not say {text:?}:\n{page}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All that the page says.
    pub async fn text(&self) -> String {
        match self.driver.find(By::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Ends the session.
    pub async fn quit(self) {
        let _ = self.driver.clone().quit().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver and its browsers, which it leaves behind where it ends in the middle.
        let group = format!("-{}", self.service.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _ = self.service.wait();
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
}

/// Where pictures are kept: beside what cargo builds.
pub fn pictures() -> PathBuf {
    binaries().join("pictures")
}
