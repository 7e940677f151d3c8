import { render } from "preact";
import { App } from "./app";
import { begin } from "./begin";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/shell.css";
import "./styles/draw.css";
import "./styles/gallery.css";
import "./styles/lightbox.css";
import "./styles/lists.css";

const place = document.getElementById("app");
if (place) render(<App />, place);
begin();
